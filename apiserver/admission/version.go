package admission

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/kinds"
	"proa.dev/object"
)

// Versions are all in which the objects of the request are served: the one of Kind first.
func (r *Request) Versions() []schema.GroupVersionResource {
	out := []schema.GroupVersionResource{r.Kind.GroupVersionResource}
	for i := range r.Kind.Also {
		out = append(out, kinds.ParsePath(r.Kind.Also[i].Path).GroupVersionResource)
	}
	if r.Kind.Custom == nil {
		return out
	}
	for _, k := range r.Kinds {
		if r.sibling(k) && k.GroupVersionResource != r.Kind.GroupVersionResource {
			out = append(out, k.GroupVersionResource)
		}
	}
	return out
}

// sibling says whether k is the custom kind of the request in one of its versions.
func (r *Request) sibling(k *kinds.Kind) bool {
	return k.Custom != nil && k.Group == r.Kind.Group && k.Resource.Resource == r.Kind.Resource.Resource
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

// Out is o, which is Object or Old, in the group and version of gvk; nil is nil. The result says its kind; it is frozen.
func (r *Request) Out(ctx context.Context, o object.Object, gvk schema.GroupVersionKind) (runtime.Object, error) {
	if o == nil {
		return nil, nil
	}
	if c, ok := o.(*Connection); ok {
		return c.Object, nil
	}
	if r.Whole() && gvk.GroupVersion() != r.Kind.GroupVersion() {
		v, err := r.version(gvk)
		if err != nil {
			return nil, err
		}
		if o, err = v.out(ctx, o); err != nil {
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
func (r *Request) Replace(ctx context.Context, made runtime.Object, gvk schema.GroupVersionKind) error {
	if r.Op == Connect {
		r.Object = &Connection{Object: made}
		return nil
	}
	o, ok := made.(object.Object)
	if !ok {
		return fmt.Errorf("a %T has no metadata", made)
	}
	if !r.Whole() {
		r.Object = o
		return nil
	}
	if gvk.GroupVersion() != r.Kind.GroupVersion() {
		v, err := r.version(gvk)
		if err != nil {
			return err
		}
		if o, err = v.in(ctx, r.Kind, o); err != nil {
			return fmt.Errorf("convert %s from %s: %w", r.Kind.Resource.Kind, gvk.GroupVersion(), err)
		}
	}
	if err := r.shape(o); err != nil {
		return err
	}
	r.Kind.Default(o)
	r.Object = o
	return nil
}

// shape makes o what decoding it would have made: of its kind, without fields that the schema of a custom kind does not know.
func (r *Request) shape(o object.Object) error {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || r.Kind.Custom == nil {
		o.GetObjectKind().SetGroupVersionKind(r.Kind.GVK())
		return nil
	}
	_, err := r.Kind.Custom.Coerce(u, false)
	return err
}

// version is another version of the kind of a request: one of the fields is set.
type version struct {
	other *kinds.Other
	kind  *kinds.Kind // of a custom kind
}

func (v version) out(ctx context.Context, o object.Object) (object.Object, error) {
	if v.kind != nil {
		return converted(ctx, v.kind, o)
	}
	return v.other.To(o)
}

func (v version) in(ctx context.Context, to *kinds.Kind, o object.Object) (object.Object, error) {
	if v.kind != nil {
		return converted(ctx, to, o)
	}
	return v.other.From(o)
}

func converted(ctx context.Context, to *kinds.Kind, o object.Object) (object.Object, error) {
	out, err := to.Custom.Convert(ctx, []object.Object{o})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func (r *Request) version(gvk schema.GroupVersionKind) (version, error) {
	for i := range r.Kind.Also {
		if o := &r.Kind.Also[i]; kinds.ParsePath(o.Path).GroupVersion() == gvk.GroupVersion() {
			return version{other: o}, nil
		}
	}
	for _, k := range r.Kinds {
		if r.sibling(k) && k.GroupVersion() == gvk.GroupVersion() {
			return version{kind: k}, nil
		}
	}
	return version{}, fmt.Errorf("%s is not served in version %s", r.Kind.Resource.Kind, gvk.GroupVersion())
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
