package webhook

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/json"

	"proa.dev/object"
)

// decode reads the JSON of an object of the same type as like. The errors are those of a server that has a Go type of its own for what it
// works with, since users see them.
func decode(text []byte, like runtime.Object) (o runtime.Object, err error) {
	if _, ok := like.(*unstructured.Unstructured); ok {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(text); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		return u, nil // validation says what is wrong with its kind
	}
	o = reflect.New(reflect.TypeOf(like).Elem()).Interface().(runtime.Object)
	if err := json.UnmarshalCaseSensitivePreserveInts(text, o); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	want := like.GetObjectKind().GroupVersionKind()
	got := o.GetObjectKind().GroupVersionKind()
	switch {
	case got == want:
		return o, nil
	case !object.Scheme().Recognizes(got):
		return nil, apierrors.NewInternalError(fmt.Errorf(`no kind %q is registered for version %q in scheme "pkg/api/legacyscheme/scheme.go:30"`, got.Kind, got.GroupVersion()))
	}
	internal, _, _ := strings.Cut(want.Group, ".")
	if internal == "" {
		internal = "core"
	}
	return nil, &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
		Message: fmt.Sprintf("converting (%s.%s) to (%s.%s): unknown conversion", got.Version, got.Kind, internal, want.Kind)}}
}
