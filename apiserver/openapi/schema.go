package openapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/openapi/markers"
)

// tree is a JSON object under construction.
type tree = map[string]any

// schemas collects the schemas of Go types and of the types they refer to, in one of the two dialects.
type schemas struct {
	v3    bool
	marks markers.Index
	out   tree                                       // by model name
	gvks  map[reflect.Type][]schema.GroupVersionKind // what types are, where they are an object of a served version
}

// special are types whose JSON is not what their Go fields say; the JSON type "" is any. Their text is our own: the sources have none for
// reflection.
var special = map[string]struct{ description, kind, format string }{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":       {"A time in RFC 3339, in whole seconds.", "string", "date-time"},
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":  {"A time in RFC 3339, in microseconds.", "string", "date-time"},
	"k8s.io/apimachinery/pkg/apis/meta/v1.Duration":   {"A span of time as Go writes it: \"1h30m\".", "string", ""},
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":   {"A set of fields, as server-side apply keeps it for each manager.", "object", ""},
	"k8s.io/apimachinery/pkg/runtime.RawExtension":    {"An object of any kind.", "object", ""},
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString": {"A number or a string.", "string", "int-or-string"},
	"k8s.io/apimachinery/pkg/api/resource.Quantity": {
		"An amount as a decimal number with a suffix: n u m k M G T P E, or Ki Mi Gi Ti Pi Ei for powers of 1024, or an exponent " +
			"such as e3. At most three decimal places are kept, rounded up. Examples: \"100m\", \"1.5Gi\".", "string", "",
	},

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON":                         {},
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray":       {},
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool":        {},
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray": {},
}

// variants are the JSON types of special types that have two.
var variants = map[string][]string{
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString": {"integer", "string"},
	"k8s.io/apimachinery/pkg/api/resource.Quantity":   {"string", "number"},
}

func typeName(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }

// modelName is the name of a type's schema: "io.k8s.api.core.v1.Pod".
func modelName(t reflect.Type) string {
	if m, ok := reflect.Zero(t).Interface().(interface{ OpenAPIModelName() string }); ok {
		return m.OpenAPIModelName()
	}
	return strings.ReplaceAll(typeName(t), "/", ".")
}

// ref refers to the schema of a struct type, which is added if it is not there.
func (s *schemas) ref(t reflect.Type) tree {
	name := modelName(t)
	if _, ok := s.out[name]; !ok {
		s.out[name] = tree{} // types may refer to themselves
		s.out[name] = s.object(t)
	}
	if s.v3 {
		return tree{"$ref": "#/components/schemas/" + name}
	}
	return tree{"$ref": "#/definitions/" + name}
}

// object is the schema of a struct type.
func (s *schemas) object(t reflect.Type) tree {
	if sp, ok := special[typeName(t)]; ok {
		out := tree{}
		for key, v := range map[string]string{"description": sp.description, "type": sp.kind, "format": sp.format} {
			if v != "" {
				out[key] = v
			}
		}
		if v := variants[typeName(t)]; v != nil && s.v3 {
			delete(out, "type")
			out["oneOf"] = []any{tree{"type": v[0]}, tree{"type": v[1]}}
		}
		return out
	}
	props, required := tree{}, []string{}
	s.fields(t, props, &required)
	out := tree{"type": "object"}
	if d := docs(t)[""]; d != "" {
		out["description"] = d
	}
	if len(props) > 0 {
		out["properties"] = props
	}
	if len(required) > 0 {
		out["required"] = required
	}
	s.extend(out, s.marks[typeName(t)+" -"])
	if gvks := s.gvks[t]; gvks != nil {
		list := []any{}
		for _, g := range gvks {
			list = append(list, gvkTree(g))
		}
		out["x-kubernetes-group-version-kind"] = list
	}
	return out
}

func gvkTree(g schema.GroupVersionKind) tree {
	return tree{"group": g.Group, "version": g.Version, "kind": g.Kind}
}

func (s *schemas) fields(t reflect.Type, props tree, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			s.fields(f.Type, props, required)
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		m := s.marks[typeName(t)+" "+name]
		omit := strings.Contains(opts, "omitempty") || strings.Contains(opts, "omitzero")
		if m.Required || !omit && !m.Optional {
			*required = append(*required, name)
		}
		p := s.value(f.Type)
		if d := s.defaultOf(f.Type, m, omit); d != nil && s.v3 { // Kubernetes' Swagger 2.0 has none
			p = s.beside(p)
			p["default"] = d
		}
		if d := docs(t)[name] + s.values(f.Type); d != "" {
			p = s.beside(p)
			p["description"] = strings.TrimSpace(d)
		}
		if strategy := f.Tag.Get("patchStrategy"); strategy != "" {
			p = s.beside(p)
			p["x-kubernetes-patch-strategy"] = strategy
		}
		if key := f.Tag.Get("patchMergeKey"); key != "" {
			p["x-kubernetes-patch-merge-key"] = key
		}
		if m.List != "" || m.Map != "" {
			p = s.beside(p)
			s.extend(p, m)
		}
		props[name] = p
	}
}

// beside makes room for other keys beside a reference: OpenAPI 3.0 ignores what stands beside $ref.
func (s *schemas) beside(p tree) tree {
	if _, ok := p["$ref"]; ok && s.v3 {
		return tree{"allOf": []any{p}}
	}
	return p
}

func (s *schemas) extend(p tree, m markers.Marker) {
	if m.List != "" {
		p["x-kubernetes-list-type"] = m.List
	}
	if m.Keys != nil {
		p["x-kubernetes-list-map-keys"] = m.Keys
	}
	if m.Map != "" {
		p["x-kubernetes-map-type"] = m.Map
	}
}

// defaultOf is what a missing field means: what its comment says, else the zero value where Go would not leave it out.
func (s *schemas) defaultOf(t reflect.Type, m markers.Marker, omit bool) any {
	if m.Default != "" {
		var v any
		if json.Unmarshal([]byte(m.Default), &v) == nil {
			return v
		}
	}
	if _, ok := special[typeName(t)]; ok {
		return nil
	}
	switch {
	case t.Kind() == reflect.Struct && s.v3:
		return tree{}
	case omit, !s.v3 && t.Kind() == reflect.Struct:
		return nil
	case t.Kind() == reflect.String:
		return ""
	case t.Kind() == reflect.Bool:
		return false
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64:
		return 0
	}
	return nil
}

// value is the schema of a field's, item's or map value's type.
func (s *schemas) value(t reflect.Type) tree {
	switch t.Kind() {
	case reflect.Pointer:
		return s.value(t.Elem())
	case reflect.Struct:
		return s.ref(t)
	case reflect.Map:
		return tree{"type": "object", "additionalProperties": s.value(t.Elem())}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return tree{"type": "string", "format": "byte"}
		}
		return tree{"type": "array", "items": s.value(t.Elem())}
	case reflect.String:
		out := tree{"type": "string"}
		if e := s.marks[typeName(t)+" -"].Enum; e != nil {
			out["enum"] = e
		}
		return out
	case reflect.Bool:
		return tree{"type": "boolean"}
	case reflect.Int64, reflect.Uint64:
		return tree{"type": "integer", "format": "int64"}
	case reflect.Int, reflect.Int32, reflect.Uint32, reflect.Int16, reflect.Uint16, reflect.Int8, reflect.Uint8:
		return tree{"type": "integer", "format": "int32"}
	case reflect.Float64, reflect.Float32:
		return tree{"type": "number", "format": "double"}
	case reflect.Interface:
		return tree{"type": "object"}
	}
	panic(fmt.Sprintf("openapi: no schema for %s", t)) // a type that no API has; the test of all kinds finds it
}

// values is what descriptions say of the values of an enum.
func (s *schemas) values(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	enum := s.marks[typeName(t)+" -"].Enum
	if len(enum) == 0 || t.Kind() != reflect.String {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n\nPossible enum values:")
	for _, v := range enum {
		fmt.Fprintf(&b, "\n - `%q`", v)
	}
	return b.String()
}

// docs are the descriptions of a type and its fields, by the field's JSON name; the type's own is "".
func docs(t reflect.Type) map[string]string {
	if d, ok := reflect.Zero(t).Interface().(interface{ SwaggerDoc() map[string]string }); ok {
		return d.SwaggerDoc()
	}
	return nil
}
