package rest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	core "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mvalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/cache"
	"proa.dev/client"
	"proa.dev/object"
)

// Delete deletes an object, or marks it as being deleted where it has finalizers or a grace period.
func (a *API) Delete(ctx context.Context, s *Served, t client.Target, opt metav1.DeleteOptions) (Answer, error) {
	return a.delete(ctx, s, t, opt, a.admitDelete)
}

// admit judges a delete.
type admit func(context.Context, *admission.Request) error

func (a *API) admitDelete(ctx context.Context, r *admission.Request) error {
	if err := a.admission.Admit(ctx, r); err != nil {
		return err
	}
	return a.admission.Check(ctx, r)
}

// admitCollected is admitDelete for a request that names no object.
func (a *API) admitCollected(ctx context.Context, r *admission.Request) error {
	r.Collection = true
	return a.admitDelete(ctx, r)
}

// admitted is for deletes that are a part of a request which admission has seen.
func admitted(context.Context, *admission.Request) error { return nil }

func (a *API) delete(ctx context.Context, s *Served, t client.Target, opt metav1.DeleteOptions, ask admit) (Answer, error) {
	opt.IgnoreStoreReadErrorWithClusterBreakingPotential = nil // off, as it is by default in Kubernetes
	if errs := mvalidation.ValidateDeleteOptions(&opt); len(errs) > 0 {
		return Answer{}, apierrors.NewInvalid(optionsKind("DeleteOptions"), "", errs)
	}
	if s.Shelf == nil || t.Sub != "" {
		return Answer{}, apierrors.NewMethodNotSupported(s.group(), "delete")
	}
	for try := 1; ; try++ {
		old, err := a.current(ctx, s, t.Key)
		if err != nil {
			return Answer{}, err
		}
		if old, err = s.Item(ctx, old); err != nil {
			return Answer{}, err
		}
		answer, err := a.deleteOnce(ctx, s, old, opt, ask)
		_, lost := cache.ErrConflict(err)
		if !lost && !apierrors.IsConflict(err) || try == changeTries {
			if lost {
				err = apierrors.NewConflict(s.group(), t.Name, errModified)
			}
			return answer, failure(err)
		}
		// Somebody was faster, or a precondition is compared with something old.
		if again, ferr := a.behind(ctx, s, old); ferr != nil || !again {
			if lost && ferr == nil {
				continue
			}
			return answer, conflictFirst(ferr, err)
		}
	}
}

// warnOrphans tells who deletes a Job without saying what becomes of its pods that they stay.
func warnOrphans(ctx context.Context, s *Served, opt metav1.DeleteOptions) {
	if s.Kind.Kind == "Job" && s.Kind.Group == "batch" && opt.PropagationPolicy == nil && opt.OrphanDependents == nil { //nolint:staticcheck // deprecated, and still sent
		Warn(ctx, "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning")
	}
}

func conflictFirst(fresh, err error) error {
	if fresh != nil {
		return fresh
	}
	return failure(err)
}

func (a *API) deleteOnce(ctx context.Context, s *Served, old *cache.Item, opt metav1.DeleteOptions, ask admit) (_ Answer, err error) {
	warnOrphans(ctx, s, opt)
	if err := preconditions(s, old.Object, opt.Preconditions); err != nil {
		return Answer{}, err
	}
	r := deleteWith(a.request(ctx, s, admission.Delete, ""), opt)
	r.Key, r.Old = old.Key, old.Object
	if err := ask(ctx, r); err != nil {
		return Answer{}, err
	}
	if opt.GracePeriodSeconds != nil && *opt.GracePeriodSeconds < 0 {
		one := int64(1)
		opt.GracePeriodSeconds = &one
	}
	next, wait := a.planDelete(s, old.Object, opt)
	switch {
	case !wait:
		return a.finish(ctx, s, old, next, r.DryRun)
	case next == nil: // it is being deleted already, and not faster than before
		return Answer{Item: old, Pending: true}, nil
	case r.DryRun:
		return Answer{Item: cache.Loose(s.Kind, next), Pending: true}, nil
	}
	it, err := a.write(ctx, s, old.Key, next, old.Rev)
	return Answer{Item: it, Pending: true}, err
}

// planDelete says what a delete makes of an object: wait false means that it can go now; else next is what is to be stored, or nil
// if nothing changes.
func (a *API) planDelete(s *Served, old object.Object, opt metav1.DeleteOptions) (next object.Object, wait bool) {
	o := old.DeepCopyObject().(object.Object)
	o.SetFinalizers(collectorFinalizers(s, o, opt))
	now := a.now().Truncate(time.Second)
	switch at := o.GetDeletionTimestamp(); {
	case at == nil:
		grace := s.Kind.Grace(o, &opt)
		if grace <= 0 && goneAfter(withGrace(o, 0)) {
			if _, isPod := o.(*core.Pod); isPod { // its end is shown, since it might have been a graceful one
				o.SetDeletionTimestamp(&metav1.Time{Time: now})
				o.SetGeneration(o.GetGeneration() + 1)
			} else {
				o.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
			}
			return o, false
		}
		when := metav1.NewTime(now.Add(time.Duration(max(grace, 0)) * time.Second))
		o.SetDeletionTimestamp(&when)
		if _, ok := o.(*apiextensions.CustomResourceDefinition); ok {
			o.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
			return o, true // nothing else is said of it
		}
		o.SetDeletionGracePeriodSeconds(&grace)
		if o.GetGeneration() > 0 {
			o.SetGeneration(o.GetGeneration() + 1)
		}
		if ns, ok := o.(*core.Namespace); ok {
			ns.Status.Phase = core.NamespaceTerminating
			o.SetDeletionGracePeriodSeconds(nil)
		}
		return o, true
	default:
		left := o.GetDeletionGracePeriodSeconds()
		if left != nil && *left > 0 && opt.GracePeriodSeconds != nil && *opt.GracePeriodSeconds < *left {
			began := at.Add(-time.Duration(*left) * time.Second)
			when := metav1.NewTime(began.Add(time.Duration(*opt.GracePeriodSeconds) * time.Second))
			grace := *opt.GracePeriodSeconds
			o.SetDeletionTimestamp(&when)
			o.SetDeletionGracePeriodSeconds(&grace)
		} else if left != nil && *left > 0 {
			return nil, true // finalizers cannot be changed by another delete either
		}
		if goneAfter(o) {
			return o, false
		}
		if same, err := equal(o, old); err == nil && same {
			return nil, true
		}
		return o, true
	}
}

func withGrace(o object.Object, seconds int64) object.Object {
	o.SetDeletionGracePeriodSeconds(&seconds)
	return o
}

// goneAfter says whether nothing holds an object that is being deleted: no finalizer and no grace period.
func goneAfter(o object.Object) bool {
	if len(o.GetFinalizers()) > 0 {
		return false
	}
	if ns, ok := o.(*core.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		return false
	}
	left := o.GetDeletionGracePeriodSeconds()
	return left == nil || *left == 0
}

// finish removes an object from the store. last is its state as the answer shows it.
func (a *API) finish(ctx context.Context, s *Served, old *cache.Item, last object.Object, dryRun bool) (Answer, error) {
	var it *cache.Item
	if dryRun {
		it = cache.Loose(s.Kind, last)
	} else {
		var err error
		if it, err = a.cache.Remove(ctx, s.Shelf, old.Key, old.Rev); err != nil {
			return Answer{}, err
		}
		if it, err = s.Item(ctx, it); err != nil {
			return Answer{}, err
		}
	}
	if p, ok := last.(*core.Pod); ok && it != nil { // the answer says that it was on its way out
		p.ResourceVersion = it.Object.GetResourceVersion()
		it = cache.Loose(s.Kind, p)
	}
	if it != nil && answersDeleted(s.group()) {
		return Answer{Item: it}, nil
	}
	return Answer{Other: success(s, old.Object)}, nil
}

// success is what answers a finished delete.
func success(s *Served, o object.Object) *metav1.Status {
	st := &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{
		Name: o.GetName(), Group: s.Group, Kind: s.GroupVersionResource.Resource, UID: o.GetUID()}}
	st.SetGroupVersionKind(metav1.Unversioned.WithKind("Status"))
	return st
}

func preconditions(s *Served, o object.Object, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	named := schema.GroupResource{Group: s.Group, Resource: s.Kind.Kind} // Kubernetes names the kind here
	if p.UID != nil && *p.UID != o.GetUID() {
		return apierrors.NewConflict(named, o.GetName(), fmt.Errorf(
			"the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, o.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != o.GetResourceVersion() {
		return apierrors.NewConflict(named, o.GetName(), fmt.Errorf(
			"the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, o.GetResourceVersion()))
	}
	return nil
}

// collectorFinalizers is o's finalizers with those by which the garbage collector is told what to do with the dependents.
func collectorFinalizers(s *Served, o object.Object, opt metav1.DeleteOptions) []string {
	had := o.GetFinalizers()
	orphan, foreground := s.Kind.Orphan, false
	switch {
	case opt.OrphanDependents != nil: //nolint:staticcheck // deprecated, and still sent
		orphan = *opt.OrphanDependents //nolint:staticcheck
	case opt.PropagationPolicy != nil:
		orphan = *opt.PropagationPolicy == metav1.DeletePropagationOrphan
		foreground = *opt.PropagationPolicy == metav1.DeletePropagationForeground
	case slices.Contains(had, metav1.FinalizerOrphanDependents):
		orphan = true
	case slices.Contains(had, metav1.FinalizerDeleteDependents):
		orphan, foreground = false, true
	}
	var out []string
	for _, f := range had {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			out = append(out, f)
		}
	}
	if orphan {
		out = append(out, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		out = append(out, metav1.FinalizerDeleteDependents)
	}
	return out
}

// deletesAtOnce is how many objects of a collection are deleted side by side.
const deletesAtOnce = 16

// DeleteCollection deletes every object that which selects, and answers them.
func (a *API) DeleteCollection(ctx context.Context, s *Served, t client.Target, opt metav1.DeleteOptions, which metav1.ListOptions) (*Listing, error) {
	opt.IgnoreStoreReadErrorWithClusterBreakingPotential = nil // off, as it is by default in Kubernetes
	if errs := mvalidation.ValidateDeleteOptions(&opt); len(errs) > 0 {
		return nil, apierrors.NewInvalid(optionsKind("DeleteOptions"), "", errs)
	}
	l, err := a.List(ctx, s, t, which)
	if err != nil {
		return nil, err
	}
	// Side by side: a write waits for the disk, and the disk takes many at once. The first one that fails, in their order, is told of.
	var g errgroup.Group
	g.SetLimit(deletesAtOnce)
	errs := make([]error, len(l.Items))
	var failed atomic.Bool
	for i, it := range l.Items {
		if failed.Load() {
			break
		}
		g.Go(func() error {
			_, err := a.delete(ctx, s, client.Target{Resource: t.Resource, Key: it.Key}, opt, a.admitCollected)
			if err != nil && !apierrors.IsNotFound(err) { // else somebody was faster
				errs[i] = err
				failed.Store(true)
			}
			return nil
		})
	}
	_ = g.Wait() // it has none
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}
