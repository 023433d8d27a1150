package openapi

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// model is what a body or an answer is: a Go type, or a kind of a CustomResourceDefinition by the name of its schema.
type model struct {
	goType reflect.Type
	name   string
	custom bool
}

func of(t reflect.Type) model { return model{goType: t} }

// use refers to the schema of m, which is added if it is not there.
func (s *schemas) use(m model) tree {
	if !m.custom {
		return s.ref(m.goType)
	}
	if s.v3 {
		return tree{"$ref": "#/components/schemas/" + m.name}
	}
	return tree{"$ref": "#/definitions/" + m.name}
}

// modelsOf is the models of a resource and of its list.
func (s *schemas) modelsOf(r resource) (one, list model) {
	if r.kind.Custom == nil {
		if t := listType(r.gvk); t != nil {
			list = of(t)
		}
		return of(reflect.TypeOf(r.new()).Elem()), list
	}
	listKind := r.gvk.GroupVersion().WithKind(r.kind.Custom.ListKind)
	one, list = model{name: customName(r.gvk), custom: true}, model{name: customName(listKind), custom: true}
	if s.out[one.name] == nil {
		s.ref(reflect.TypeFor[metav1.ObjectMeta]())
		def, err := r.kind.Custom.Schemas(s.v3)
		if err != nil { // nothing is known of it, then
			def = tree{"type": "object", "x-kubernetes-group-version-kind": []any{gvkTree(r.gvk)}}
		}
		s.out[one.name] = def
		all := s.customList(r, one, listKind)
		if f, ok := def["x-kubernetes-selectable-fields"]; ok {
			all["x-kubernetes-selectable-fields"] = f
		}
		s.out[list.name] = all
	}
	return one, list
}

func (s *schemas) customList(r resource, one model, gvk schema.GroupVersionKind) tree {
	about := metav1.TypeMeta{}.SwaggerDoc()
	meta := s.beside(s.ref(reflect.TypeFor[metav1.ListMeta]()))
	meta["description"] = metav1.PartialObjectMetadataList{}.SwaggerDoc()["metadata"]
	return tree{
		"type": "object", "description": fmt.Sprintf("%s is a list of %s", gvk.Kind, r.gvk.Kind), "required": []any{"items"},
		"properties": tree{
			"apiVersion": tree{"type": "string", "description": about["apiVersion"]},
			"kind":       tree{"type": "string", "description": about["kind"]},
			"metadata":   meta,
			"items": tree{"type": "array", "items": s.use(one), "description": fmt.Sprintf(
				"List of %s. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", r.name)},
		},
		"x-kubernetes-group-version-kind": []any{gvkTree(gvk)},
	}
}

// customName is how clients know a kind: "com.example.v1.Gadget".
func customName(gvk schema.GroupVersionKind) string {
	parts := strings.Split(gvk.Group, ".")
	slices.Reverse(parts)
	return strings.Join(parts, ".") + "." + gvk.Version + "." + gvk.Kind
}
