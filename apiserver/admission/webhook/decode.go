package webhook

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/json"
)

// decode reads the JSON of an object of the same type as like.
func decode(text []byte, like runtime.Object) (o runtime.Object, err error) {
	if _, ok := like.(*unstructured.Unstructured); ok {
		u := &unstructured.Unstructured{}
		o, err = u, u.UnmarshalJSON(text)
	} else {
		o = reflect.New(reflect.TypeOf(like).Elem()).Interface().(runtime.Object)
		err = json.UnmarshalCaseSensitivePreserveInts(text, o)
	}
	if err != nil {
		return nil, err
	}
	want := like.GetObjectKind().GroupVersionKind()
	if got := o.GetObjectKind().GroupVersionKind(); got != want {
		return nil, fmt.Errorf("the patch makes a %s of a %s", got, want)
	}
	return o, nil
}
