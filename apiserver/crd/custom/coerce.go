package custom

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/object"
)

// coerce does what decoding does to a Go type, see kinds.Custom.
func (f *family) coerce(u *unstructured.Unstructured, paths bool) (unknown []string, err error) {
	return f.shape(u, paths, false)
}

// prune is coerce for what the server has made itself: admission, conversion.
func (f *family) prune(u *unstructured.Unstructured) {
	_, _ = f.shape(u, false, true) // it drops what is malformed, so there is no error
}

// fill does what is done to an object read from the store or from a request: it takes the defaults of the version it is in.
func (f *family) fill(o object.Object) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	if s := f.schemas[u.GroupVersionKind().Version]; s != nil && f.ours(u) {
		if st := s.structural(); st != nil && s.defaults {
			defaulting.Default(u.Object, st)
		}
	}
}

func (f *family) ours(u *unstructured.Unstructured) bool {
	gvk := u.GroupVersionKind()
	return gvk.Group == f.def.Spec.Group && gvk.Kind == f.names.Kind
}

// shape prunes unknown fields and nulls, and makes metadata, at the root and in embedded resources, what ObjectMeta has. lenient drops
// metadata of a wrong type, which else is an error.
func (f *family) shape(u *unstructured.Unstructured, paths, lenient bool) (unknown []string, err error) {
	kind, hasKind, err := unstructured.NestedString(u.Object, "kind")
	if err != nil {
		return nil, err
	}
	apiVersion, hasVersion, err := unstructured.NestedString(u.Object, "apiVersion")
	if err != nil {
		return nil, err
	}
	meta, hasMeta, unknown, err := objectmeta.GetObjectMetaWithOptions(u.Object, objectmeta.ObjectMetaOptions{DropMalformedFields: lenient, ReturnUnknownFieldPaths: paths})
	if err != nil {
		return nil, err
	}
	gv, err := apischema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, err
	}
	if gv.Group == f.def.Spec.Group && kind == f.names.Kind {
		var s *schema.Structural
		if have := f.schemas[gv.Version]; have != nil {
			s = have.structural()
		}
		if !f.def.Spec.PreserveUnknownFields {
			unknown = append(unknown, pruning.PruneWithOptions(u.Object, s, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: paths})...)
			defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, s)
		}
		bad, more := objectmeta.CoerceWithOptions(nil, u.Object, s, false, objectmeta.CoerceOptions{DropInvalidFields: lenient, ReturnUnknownFieldPaths: paths})
		if bad != nil {
			return nil, bad
		}
		unknown = append(unknown, more...)
		if lenient && meta != nil && meta.Generation == 0 {
			meta.Generation = 1
		}
	}
	if hasKind {
		u.SetKind(kind)
	}
	if hasVersion {
		u.SetAPIVersion(apiVersion)
	}
	if hasMeta {
		if err := objectmeta.SetObjectMeta(u.Object, meta); err != nil {
			return nil, fmt.Errorf("set metadata: %w", err)
		}
	}
	return unknown, nil
}
