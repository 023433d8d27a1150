package policy

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kschema "k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// merge merges a configuration into o as server-side apply does, but for the bookkeeping of who owns which field. The configuration must
// have no part that would replace a whole list, map or struct: who wrote it has most likely forgotten the rest of that.
func (c *changes) merge(o runtime.Object, configuration *unstructured.Unstructured, gvk kschema.GroupVersionKind) (runtime.Object, error) {
	types, err := c.plugin.deps.Merge(c.request.Kind)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if types == nil {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("Resource kind %s not found. There can be a delay between when CustomResourceDefinitions are created and when they are available.", gvk))
	}
	patch, err := types.ObjectToTyped(configuration)
	if err != nil {
		return nil, fmt.Errorf("failed to convert patch object to typed object: %w", err)
	}
	if whole := atomics(nil, patch.Schema(), patch.TypeRef(), patch.AsValue()); len(whole) > 0 {
		return nil, fmt.Errorf("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: %v", strings.Join(whole, ", "))
	}
	live, err := types.ObjectToTyped(o, smd.AllowDuplicates)
	if err != nil {
		return nil, fmt.Errorf("failed to convert original object to typed object: %w", err)
	}
	merged, err := live.Merge(patch)
	if err != nil {
		return nil, fmt.Errorf("failed to merge patch: %w", err)
	}
	out, err := types.TypedToObject(merged)
	if err != nil {
		return nil, fmt.Errorf("failed to convert typed object to object: %w", err)
	}
	if out == nil {
		return nil, errors.New("failed to convert typed object to object: nothing is left")
	}
	return typed(out, gvk)
}

// atomics are the paths of what in v can only be replaced as a whole.
func atomics(path fieldpath.Path, s *schema.Schema, t schema.TypeRef, v value.Value) (out []string) {
	a, ok := s.Resolve(t)
	if !ok {
		return nil
	}
	if v.IsMap() && a.Map != nil {
		if a.Map.ElementRelationship == schema.Atomic {
			out = append(out, path.String())
		}
		v.AsMap().Iterate(func(name string, in value.Value) bool {
			if f, ok := a.Map.FindField(name); ok {
				out = append(out, atomics(append(path, fieldpath.PathElement{FieldName: &name}), s, f.Type, in)...)
			}
			return true
		})
	}
	if v.IsList() && a.List != nil {
		if a.List.ElementRelationship == schema.Atomic {
			out = append(out, path.String())
		}
		for i := range v.AsList().Length() {
			out = append(out, atomics(append(path, fieldpath.PathElement{Index: &i}), s, a.List.ElementType, v.AsList().At(i))...)
		}
	}
	return out
}
