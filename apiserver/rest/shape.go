package rest

import (
	"maps"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"proa.dev/object"
)

// shape says where a Go type keeps its status, and its other fields beside TypeMeta and ObjectMeta.
type shape struct {
	status int // -1: none
	rest   []int
}

var shapes sync.Map // reflect.Type -> shape

func shapeOf(t reflect.Type) shape {
	if s, ok := shapes.Load(t); ok {
		return s.(shape)
	}
	s := shape{status: -1}
	for i := range t.NumField() {
		switch t.Field(i).Name {
		case "TypeMeta", "ObjectMeta":
		case "Status":
			s.status = i
		default:
			s.rest = append(s.rest, i)
		}
	}
	shapes.Store(t, s)
	return s
}

// fieldsOf is the struct of o and its shape; false for unstructured objects.
func fieldsOf(o object.Object) (reflect.Value, shape, bool) {
	if _, ok := o.(runtime.Unstructured); ok {
		return reflect.Value{}, shape{}, false
	}
	v := reflect.ValueOf(o).Elem()
	return v, shapeOf(v.Type()), true
}

// clearStatus empties the status of o.
func clearStatus(o object.Object) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		delete(u.Object, "status")
		return
	}
	if v, s, ok := fieldsOf(o); ok && s.status >= 0 {
		v.Field(s.status).SetZero()
	}
}

// keepStatus gives o the status of old. They share its memory: neither is changed from here on.
func keepStatus(o, old object.Object) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		if status, ok := old.(*unstructured.Unstructured).Object["status"]; ok {
			u.Object["status"] = runtime.DeepCopyJSONValue(status)
		} else {
			delete(u.Object, "status")
		}
		return
	}
	if v, s, ok := fieldsOf(o); ok && s.status >= 0 {
		v.Field(s.status).Set(reflect.ValueOf(old).Elem().Field(s.status))
	}
}

// onlyStatus gives o everything of old but its status and metadata; of custom kinds also the metadata, but for the field managers.
func onlyStatus(o, old object.Object) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		status, has := u.Object["status"]
		managers := u.GetManagedFields()
		u.Object = old.(*unstructured.Unstructured).DeepCopy().Object
		u.SetManagedFields(managers)
		delete(u.Object, "status")
		if has {
			u.Object["status"] = status
		}
		return
	}
	v, s, ok := fieldsOf(o)
	if !ok {
		return
	}
	was := reflect.ValueOf(old).Elem()
	for _, i := range s.rest {
		v.Field(i).Set(was.Field(i))
	}
}

// sameSpec says whether two objects are equal in everything but metadata and status.
func sameSpec(a, b object.Object) bool {
	if u, ok := a.(*unstructured.Unstructured); ok {
		x, y := maps.Clone(u.Object), maps.Clone(b.(*unstructured.Unstructured).Object)
		delete(x, "metadata")
		delete(y, "metadata")
		return equality.Semantic.DeepEqual(x, y)
	}
	v, s, ok := fieldsOf(a)
	if !ok {
		return false
	}
	w := reflect.ValueOf(b).Elem()
	for _, i := range s.rest {
		if !equality.Semantic.DeepEqual(v.Field(i).Interface(), w.Field(i).Interface()) {
			return false
		}
	}
	return true
}
