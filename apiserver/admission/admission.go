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

	undo []func()
}

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
	name := r.Key.Name
	if name == "" && r.Object != nil {
		if name = r.Object.GetName(); name == "" {
			name = r.Object.GetGenerateName()
		}
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: r.Kind.Group, Resource: r.Kind.Resource.Resource}, name, fmt.Errorf(format, args...))
}

// Step is one part of admission. A nil function does nothing.
type Step struct {
	Name  string
	Admit func(context.Context, *Request) error // may change Request.Object; runs before validation
	Check func(context.Context, *Request) error // after validation; changes nothing
}

// Chain is the steps in their order.
type Chain []Step

// Admit runs the changing part of every step, until one refuses.
func (c Chain) Admit(ctx context.Context, r *Request) error {
	for i := range c {
		if f := c[i].Admit; f != nil {
			if err := f(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Check runs the checking part of every step, until one refuses.
func (c Chain) Check(ctx context.Context, r *Request) error {
	for i := range c {
		if f := c[i].Check; f != nil {
			if err := f(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}
