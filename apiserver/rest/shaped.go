package rest

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/codec"
	"proa.dev/object"
)

// Shape does to an object of a custom kind that a client has sent what decoding does to a Go type: it drops what the schema does not know.
// strict lists what it has dropped. The error is ready to be sent.
func (s *Served) Shape(o object.Object) (strict []error, err error) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || s.Kind.Custom == nil {
		return nil, nil
	}
	unknown, err := s.Kind.Custom.Coerce(u, true)
	if err != nil {
		return nil, codec.Unusable(u.GroupVersionKind(), s.GVK(), err)
	}
	for _, path := range unknown {
		strict = append(strict, fmt.Errorf("unknown field %q", path))
	}
	return strict, nil
}

var errClosing = errors.New("create not allowed while custom resource definition is terminating")

// closing is the 403 of a new object whose definition is being deleted.
func closing(s *Served, name string) error {
	if s.Kind.Custom == nil || !s.Kind.Custom.Closing {
		return nil
	}
	return apierrors.NewForbidden(s.group(), name, errClosing)
}

// groupKindOf is what an error calls the kind of o: custom objects may say that they are of another kind than they should.
func groupKindOf(s *Served, o object.Object) schema.GroupKind {
	if s.Kind.Custom != nil {
		return o.GetObjectKind().GroupVersionKind().GroupKind()
	}
	return s.Kind.GVK().GroupKind()
}
