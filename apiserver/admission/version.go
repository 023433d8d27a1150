package admission

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/kinds"
	"proa.dev/object"
)

// Version is one of the versions in which the objects of a request are served.
type Version struct {
	schema.GroupVersionResource
	Kind string // of the resource itself

	other *kinds.Other // nil: the stored version
}

// Versions are all in which the kind of the request is served, the stored one first.
func (r *Request) Versions() []Version {
	out := []Version{{GroupVersionResource: r.Kind.GroupVersionResource, Kind: r.Kind.Resource.Kind}}
	for i := range r.Kind.Also {
		o := &r.Kind.Also[i]
		out = append(out, Version{GroupVersionResource: kinds.ParsePath(o.Path).GroupVersionResource, Kind: r.Kind.Resource.Kind, other: o})
	}
	return out
}

// Whole says whether Object is the object itself, not the body of a subresource that has a kind of its own.
func (r *Request) Whole() bool { return r.Body == r.Served.GVK() }

// BodyIn is the kind of Object as version v has it.
func (r *Request) BodyIn(v schema.GroupVersionResource) schema.GroupVersionKind {
	if !r.Whole() {
		return r.Body
	}
	return v.GroupVersion().WithKind(r.Body.Kind)
}

// Out is o, which is Object or Old, in the group and version of gvk. The result says its kind; it is frozen.
func (r *Request) Out(o object.Object, gvk schema.GroupVersionKind) (runtime.Object, error) {
	other, err := r.other(gvk)
	if o == nil || err != nil {
		return nil, err
	}
	if c, ok := o.(*Connection); ok {
		return c.Object, nil
	}
	if other != nil {
		if o, err = other.To(o); err != nil {
			return nil, fmt.Errorf("convert %s to %s: %w", r.Kind.Resource.Kind, gvk.GroupVersion(), err)
		}
	}
	if o.GetObjectKind().GroupVersionKind() != gvk {
		o = o.DeepCopyObject().(object.Object)
		o.GetObjectKind().SetGroupVersionKind(gvk)
	}
	return o, nil
}

// Replace puts made, an object of kind gvk, in the place of Object, with what the kind fills in where something is left out.
func (r *Request) Replace(made runtime.Object, gvk schema.GroupVersionKind) error {
	if r.Op == Connect {
		r.Object = &Connection{Object: made}
		return nil
	}
	other, err := r.other(gvk)
	if err != nil {
		return err
	}
	o, ok := made.(object.Object)
	if !ok {
		return fmt.Errorf("a %T has no metadata", made)
	}
	if other != nil {
		if o, err = other.From(o); err != nil {
			return fmt.Errorf("convert %s from %s: %w", r.Kind.Resource.Kind, gvk.GroupVersion(), err)
		}
	}
	if r.Whole() {
		o.GetObjectKind().SetGroupVersionKind(r.Kind.GVK())
		r.Kind.Default(o)
	}
	r.Object = o
	return nil
}

// other is the conversion from and to the version of gvk; nil where Object has that version already.
func (r *Request) other(gvk schema.GroupVersionKind) (*kinds.Other, error) {
	if !r.Whole() || gvk.GroupVersion() == r.Kind.GroupVersion() {
		return nil, nil
	}
	for _, v := range r.Versions() {
		if v.GroupVersion() == gvk.GroupVersion() {
			return v.other, nil
		}
	}
	return nil, fmt.Errorf("%s is not served in version %s", r.Kind.Resource.Kind, gvk.GroupVersion())
}

// Namespace is the namespace that the request is about. A request for a namespace itself is about that one.
func (r *Request) Namespace() string {
	if r.OfNamespaces() {
		return r.Name()
	}
	return r.Key.Namespace
}

// Name is what the request names; "" where it names none.
func (r *Request) Name() string {
	if r.Collection {
		return ""
	}
	return r.Key.Name
}

// OfNamespaces says whether the request is about a namespace itself, or one of its subresources.
func (r *Request) OfNamespaces() bool {
	return r.Kind.Group == "" && r.Kind.Resource.Resource == "namespaces"
}

// Connection is what is asked of a connection (PodExecOptions ...), as the Object of a Request. It has no metadata, and is sent as what it
// holds.
type Connection struct {
	runtime.Object
	metav1.ObjectMeta
}

// DeepCopyObject implements runtime.Object.
func (c *Connection) DeepCopyObject() runtime.Object {
	return &Connection{Object: c.Object.DeepCopyObject()}
}
