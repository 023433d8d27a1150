package admission

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/authn"
	"proa.dev/kinds"
	"proa.dev/object"
)

// Operation is what a request does.
type Operation string

// The operations.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Request is one write on its way to the store, or a connection about to be opened.
type Request struct {
	Op     Operation
	Kind   *kinds.Kind             // of the stored object
	Kinds  []*kinds.Kind           // all that are served, where Kind is a custom one
	Served object.Resource         // as the request names it: resource, version and kind
	Sub    string                  // subresource, or ""
	Body   schema.GroupVersionKind // what Object is: Served's kind, or that of the subresource's own body ("autoscaling/v1 Scale")
	Key    object.Key              // the name may be missing on create
	// Object is what is to be stored, in the stored version, or the body of the subresource; nil for Delete. Admit may change it and put
	// another one in its place.
	Object  object.Object
	Old     object.Object  // what is there now, frozen; nil for Create and Connect
	Options runtime.Object // CreateOptions, UpdateOptions or DeleteOptions with their kind; nil for Connect
	User    authn.User
	DryRun  bool
	// Collection says that the request deletes many objects, and names none.
	Collection bool
	// Again says that the steps run for the second time, because one of them had something changed by others.
	Again bool

	undo   []func()
	again  bool
	memory map[string]any
}

// RunAgain has all steps run a second time, since somebody who is no part of the API server has changed the object: what the steps
// fill in and refuse is to hold for that, too.
func (r *Request) RunAgain() { r.again = true }

// Remember keeps what a step wants to know when the steps run again. Recall is what it was; nil: nothing.
func (r *Request) Remember(step string, what any) {
	if r.memory == nil {
		r.memory = map[string]any{}
	}
	r.memory[step] = what
}

// Recall is what the step has remembered.
func (r *Request) Recall(step string) any { return r.memory[step] }

// Is says whether the request is about a resource itself, not one of its subresources.
func (r *Request) Is(group, resource string) bool {
	return r.Sub == "" && r.Kind.Group == group && r.Kind.Resource.Resource == resource
}

// OnFailure has f called if the write does not happen: to give back what a step has reserved.
func (r *Request) OnFailure(f func()) { r.undo = append(r.undo, f) }

// Failed calls what OnFailure collected, last first.
func (r *Request) Failed() {
	for i := len(r.undo) - 1; i >= 0; i-- {
		r.undo[i]()
	}
	r.undo = nil
}

// Forbid is the 403 that refuses the request.
func (r *Request) Forbid(format string, args ...any) *apierrors.StatusError {
	name := r.Name()
	if name == "" && r.Object != nil {
		if name = r.Object.GetName(); name == "" {
			name = r.Object.GetGenerateName()
		}
	}
	if name == "" {
		name = "Unknown"
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: r.Kind.Group, Resource: r.Kind.Resource.Resource}, name, fmt.Errorf(format, args...))
}

// Step is one part of admission. A nil function does nothing.
type Step struct {
	Name  string
	Admit func(context.Context, *Request) error // may change Request.Object; runs before validation
	Check func(context.Context, *Request) error // after validation; changes nothing
	Last  bool                                  // Admit runs once, when all others have run for the last time

	meter *Meter // nil: nobody measures
	took  *times
}

// Chain is the steps in their order.
type Chain []Step

// Admit runs the changing part of every step, until one refuses.
func (c Chain) Admit(ctx context.Context, r *Request) error {
	w := c.watch(false, r.Op)
	err := c.admit(ctx, r, &w, false)
	if err == nil && r.again {
		r.Again = true
		err = c.admit(ctx, r, &w, false)
	}
	if err == nil {
		err = c.admit(ctx, r, &w, true)
	}
	w.end(err)
	return err
}

func (c Chain) admit(ctx context.Context, r *Request, w *stopwatch, last bool) error {
	for i := range c {
		if f := c[i].Admit; f != nil && c[i].Last == last {
			err := f(ctx, r)
			w.step(&c[i], err)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Check runs the checking part of every step, until one refuses.
func (c Chain) Check(ctx context.Context, r *Request) error {
	w := c.watch(true, r.Op)
	for i := range c {
		if f := c[i].Check; f != nil {
			err := f(ctx, r)
			w.step(&c[i], err)
			if err != nil {
				w.end(err)
				return err
			}
		}
	}
	w.end(nil)
	return nil
}
