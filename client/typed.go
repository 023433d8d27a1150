package client

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/object"
)

// TargetOf is the target of objects of type T with this key.
func TargetOf[T any, P object.Ptr[T]](key object.Key) Target {
	return Target{Resource: object.ResourceOf[T, P](), Key: key}
}

// Lookup finds one object of type T in a View.
func Lookup[T any, P object.Ptr[T]](v View, key object.Key) (P, bool) {
	o, ok := v.Lookup(object.ResourceOf[T, P](), key)
	if !ok {
		return nil, false
	}
	return o.(P), true
}

// ListOf is the objects of type T in a View that sel selects, in key order.
func ListOf[T any, P object.Ptr[T]](v View, sel Select) []P {
	found := v.List(object.ResourceOf[T, P](), sel)
	out := make([]P, len(found))
	for i, o := range found {
		out[i] = o.(P)
	}
	return out
}

// Owned is the objects of type T that an owner reference ties to owner.
func Owned[T any, P object.Ptr[T]](v View, owner metav1.Object) []P {
	return ListOf[T, P](v, Select{Namespace: owner.GetNamespace(), Owner: owner.GetUID()})
}

// Watch is View.Watch for objects of type T. fn gets nil objects with Synced.
func Watch[T any, P object.Ptr[T]](ctx context.Context, v View, fn func(t EventType, now, old P)) error {
	return v.Watch(ctx, object.ResourceOf[T, P](), func(e Event) {
		now, _ := e.Object.(P)
		old, _ := e.Old.(P)
		fn(e.Type, now, old)
	})
}

// Get reads one object of type T through the API.
func Get[T any, P object.Ptr[T]](ctx context.Context, c Client, key object.Key) (P, error) {
	return as[P](c.Get(ctx, TargetOf[T, P](key)))
}

// Create posts a new object.
func Create[T any, P object.Ptr[T]](ctx context.Context, c Client, o P) (P, error) {
	t := TargetOf[T, P](object.Key{Namespace: o.GetNamespace()})
	return as[P](c.Create(ctx, t, o, metav1.CreateOptions{}))
}

// Update replaces an object; its resourceVersion, if set, must be the current one.
func Update[T any, P object.Ptr[T]](ctx context.Context, c Client, o P) (P, error) {
	return as[P](c.Update(ctx, TargetOf[T, P](object.KeyOf(o)), o, metav1.UpdateOptions{}))
}

// UpdateStatus replaces the status of an object.
func UpdateStatus[T any, P object.Ptr[T]](ctx context.Context, c Client, o P) (P, error) {
	t := TargetOf[T, P](object.KeyOf(o))
	t.Sub = "status"
	return as[P](c.Update(ctx, t, o, metav1.UpdateOptions{}))
}

// Delete deletes the object that had this uid (any, if uid is empty). A missing object is apierrors.IsNotFound.
func Delete[T any, P object.Ptr[T]](ctx context.Context, c Client, key object.Key, uid types.UID) error {
	var opt metav1.DeleteOptions
	if uid != "" {
		opt.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	return c.Delete(ctx, TargetOf[T, P](key), opt)
}

func as[P object.Object](o object.Object, err error) (P, error) {
	var none P
	if err != nil {
		return none, err
	}
	return o.(P), nil
}
