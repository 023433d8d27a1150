package object

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Object is any API object with metadata: a pointer to a k8s.io/api type, or *unstructured.Unstructured.
type Object interface {
	metav1.Object
	runtime.Object
}

// Ptr is the constraint "T is the struct of an API type": *T is an Object.
type Ptr[T any] interface {
	*T
	Object
}

// Key names one object within its resource. Namespace is empty for cluster-scoped resources.
type Key struct {
	Namespace, Name string
}

// KeyOf is the key of o.
func KeyOf(o metav1.Object) Key { return Key{o.GetNamespace(), o.GetName()} }

// ParseKey reads "namespace/name" or "name".
func ParseKey(s string) Key {
	if ns, name, ok := strings.Cut(s, "/"); ok {
		return Key{ns, name}
	}
	return Key{Name: s}
}

// String is "namespace/name", or "name" for cluster-scoped objects.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// Resource describes one served resource in one version.
type Resource struct {
	schema.GroupVersionResource
	Kind       string // "Deployment"
	Namespaced bool
}

// GVK is the group, version and kind of r.
func (r Resource) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
}

// Clone is a deep copy that the caller may change. It is nil for nil.
func Clone[T any, P Ptr[T]](o P) P {
	if o == nil {
		return nil
	}
	return o.DeepCopyObject().(P)
}

// OwnedBy says whether any owner reference of o, controlling or not, names uid.
func OwnedBy(o metav1.Object, uid types.UID) bool {
	for _, ref := range o.GetOwnerReferences() {
		if ref.UID == uid {
			return true
		}
	}
	return false
}
