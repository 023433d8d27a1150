package client

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/object"
)

// Resource is a group, version and resource: apps/v1 deployments.
type Resource = schema.GroupVersionResource

// Target says what a call is about. Name is empty for List, Create and DeleteCollection of the resource itself.
type Target struct {
	Resource
	object.Key
	Sub string // subresource: "status", "scale", "binding" ...; "" is the object itself
}

// Client is the API, used as one identity: every call is authorised, admitted and audited as any other request.
type Client interface {
	Get(ctx context.Context, t Target) (object.Object, error)
	// List reads with Kubernetes' semantics of selectors, limit, continue and resourceVersion.
	List(ctx context.Context, t Target, opt metav1.ListOptions) (*List, error)
	// Create posts o. With Target.Sub the target names the parent (pods/x/binding) and the answer is what the subresource answers.
	Create(ctx context.Context, t Target, o object.Object, opt metav1.CreateOptions) (object.Object, error)
	Update(ctx context.Context, t Target, o object.Object, opt metav1.UpdateOptions) (object.Object, error)
	Patch(ctx context.Context, t Target, p Patch, opt metav1.PatchOptions) (object.Object, error)
	Delete(ctx context.Context, t Target, opt metav1.DeleteOptions) error
	DeleteCollection(ctx context.Context, t Target, opt metav1.DeleteOptions, which metav1.ListOptions) error
}

// Patch is a change and how to read it.
type Patch struct {
	Type types.PatchType
	Data []byte
}

// List is one page of a List call.
type List struct {
	Items           []object.Object
	ResourceVersion string
	Continue        string
}

// View is shared read access to every object of the resources it carries.
type View interface {
	// Lookup finds one object. A resource that the View does not carry has no objects.
	Lookup(r Resource, key object.Key) (object.Object, bool)
	// List is the objects of a resource that sel selects, in key order.
	List(r Resource, sel Select) []object.Object
	// Watch calls fn for every object there is (Added), then once with Synced, then for every change in revision order, until ctx
	// ends; it returns ctx.Err() then, or an error if the View does not carry r. fn runs on the caller's goroutine; while it runs, changes
	// queue up. When fn hears of a change, Lookup and List show it already (or something newer).
	Watch(ctx context.Context, r Resource, fn func(Event)) error
	// Resources are those that the View carries now, one version each, sorted.
	Resources() []object.Resource
}

// Changing is a View whose resources come and go while it is used.
type Changing interface {
	// Changed is closed when the resources are others than they were. Take it before looking at Resources.
	Changed() <-chan struct{}
}

// Changed is v's, or a channel that never closes if v carries the same resources for ever.
func Changed(v View) <-chan struct{} {
	if c, ok := v.(Changing); ok {
		return c.Changed()
	}
	return nil
}

// Partial is a View that at times does not know of all resources that it should carry.
type Partial interface {
	// Unknown are the versions of which it knows nothing now: there may be objects, and nobody can see them.
	Unknown() []schema.GroupVersion
}

// Unknown is v's, or nothing if v always knows.
func Unknown(v View) []schema.GroupVersion {
	if p, ok := v.(Partial); ok {
		return p.Unknown()
	}
	return nil
}

// ErrGone ends a View.Watch whose resource the View does not carry any more, or carries anew: watch again if Resources still
// has it.
var ErrGone = errors.New("the resource is gone")

// Select narrows a View.List; the zero value is everything. Of the fields that are set all must match.
type Select struct {
	Namespace string
	Owner     types.UID // an owner reference names this uid (indexed)
	Node      string    // pods only: spec.nodeName (indexed)
}

// EventType says what happened to an object.
type EventType string

// The types of an Event.
const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
	Synced   EventType = "SYNCED" // all objects that existed at the start of the Watch have been told; Object is nil
)

// Event is one change of one object.
type Event struct {
	Type   EventType
	Object object.Object // for Deleted: the last state
	Old    object.Object // the state before; nil for Added and where it is not known
}
