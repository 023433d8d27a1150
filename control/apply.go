package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/client/record"
	"proa.dev/object"
)

// Op is what a Change does.
type Op string

// The operations. Update and Status fail with a conflict if Object's resourceVersion is no longer the current one; Delete has Object's uid
// as precondition, and a Patch should name it.
const (
	Create Op = "create"
	Update Op = "update" // metadata and spec
	Status Op = "status" // the status subresource
	Patch  Op = "patch"
	Delete Op = "delete" // of what is gone already succeeds
)

// Change is one write that a plan asks for.
type Change struct {
	Op     Op
	Object object.Object // what to write; for Patch and Delete, the object as it was seen
	// Resource is needed where it does not follow from the kind by the usual plural: for custom resources.
	Resource client.Resource
	Patch    client.Patch
	Sub      string // subresource for Patch and Update
	// Delete: the grace period and propagation; nil are the kind's defaults.
	Grace       *int64
	Propagation *metav1.DeletionPropagation
	SameVersion bool // Delete: only if Object is still at its resourceVersion
	Unordered   bool // Patch: may go out together with others of the same kind that say so

	Said    Note // told when the change was made; %[1]s in it is the name of the object, other verbs are not allowed
	Refused Note // told when it was not; %[1]v in it is the error
}

// Note is an event to record about On. The zero Note is silent.
type Note struct {
	On     object.Object
	Type   string // default: Normal for Said, Warning for Refused
	Reason string
	Format string
}

// Apply makes the changes in order, but runs of creates, of deletes, and of unordered patches, of one resource go out in growing batches:
// 1, 4, 16, ... at a time, so that 500 are fast and a refusal is not repeated 500 times. It stops at the first batch that failed and
// returns all its errors, joined. A create that is refused because its namespace is going away counts as done, and so do the patch and the
// delete of what is gone.
func Apply(ctx context.Context, c client.Client, ev *record.Recorder, changes []Change) error {
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && alike(changes[0], changes[n]) {
			n++
		}
		if err := batches(ctx, c, ev, changes[:n]); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

func alike(a, b Change) bool {
	together := a.Op == Create || a.Op == Delete || a.Op == Patch && a.Unordered && b.Unordered
	return a.Op == b.Op && together && object.KindOf(a.Object) == object.KindOf(b.Object)
}

// maxBatch bounds the writes that one Apply has in flight.
const maxBatch = 256

func batches(ctx context.Context, c client.Client, ev *record.Recorder, changes []Change) error {
	for size := 1; len(changes) > 0; size = min(4*size, maxBatch) {
		now := changes[:min(size, len(changes))]
		changes = changes[len(now):]
		errs := make([]error, len(now))
		if len(now) == 1 {
			errs[0] = one(ctx, c, ev, now[0])
		} else {
			var wg sync.WaitGroup
			for i, ch := range now {
				wg.Go(func() { errs[i] = one(ctx, c, ev, ch) })
			}
			wg.Wait()
		}
		if err := errors.Join(errs...); err != nil {
			return firstIfSame(errs, err)
		}
	}
	return nil
}

// firstIfSame keeps the type of an API error visible to apierrors.IsConflict where there is only one.
func firstIfSame(errs []error, joined error) error {
	var only error
	for _, err := range errs {
		if err == nil {
			continue
		}
		if only != nil && only.Error() != err.Error() {
			return joined
		}
		only = err
	}
	return only
}

// one makes one change and tells its notes.
func one(ctx context.Context, c client.Client, ev *record.Recorder, ch Change) error {
	name := ch.Object.GetName()
	made, err := ch.do(ctx, c)
	if err != nil {
		if ch.Op == Create && apierrors.HasStatusCause(err, core.NamespaceTerminatingCause) {
			return nil
		}
		if (ch.Op == Delete || ch.Op == Patch) && apierrors.IsNotFound(err) {
			return nil
		}
		if !apierrors.IsConflict(err) {
			ch.Refused.tell(ev, core.EventTypeWarning, err)
		}
		return fmt.Errorf("%s %s %s: %w", ch.Op, object.KindOf(ch.Object).Kind, object.KeyOf(ch.Object), err)
	}
	if made != nil {
		name = made.GetName()
	}
	ch.Said.tell(ev, core.EventTypeNormal, name)
	return nil
}

func (n Note) tell(ev *record.Recorder, typ string, arg any) {
	if n.On == nil {
		return
	}
	if n.Type != "" {
		typ = n.Type
	}
	if !strings.Contains(n.Format, "%[1]") {
		ev.Event(n.On, typ, n.Reason, "%s", n.Format)
		return
	}
	ev.Event(n.On, typ, n.Reason, n.Format, arg)
}

func (ch Change) do(ctx context.Context, c client.Client) (object.Object, error) {
	t := client.Target{Resource: ch.Resource, Key: object.KeyOf(ch.Object), Sub: ch.Sub}
	if t.Resource.Empty() {
		t.Resource = object.ResourceFor(object.KindOf(ch.Object))
	}
	switch ch.Op {
	case Create:
		t.Name = ""
		return c.Create(ctx, t, ch.Object, metav1.CreateOptions{})
	case Update:
		return c.Update(ctx, t, ch.Object, metav1.UpdateOptions{})
	case Status:
		t.Sub = "status"
		return c.Update(ctx, t, ch.Object, metav1.UpdateOptions{})
	case Patch:
		return c.Patch(ctx, t, ch.Patch, metav1.PatchOptions{})
	case Delete:
		opt := metav1.DeleteOptions{GracePeriodSeconds: ch.Grace, PropagationPolicy: ch.Propagation}
		if uid := ch.Object.GetUID(); uid != "" {
			opt.Preconditions = &metav1.Preconditions{UID: &uid}
			if rv := ch.Object.GetResourceVersion(); ch.SameVersion && rv != "" {
				opt.Preconditions.ResourceVersion = &rv
			}
		}
		return nil, c.Delete(ctx, t, opt)
	}
	return nil, fmt.Errorf("unknown operation %q", ch.Op)
}
