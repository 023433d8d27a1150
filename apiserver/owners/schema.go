package owners

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"proa.dev/apiserver/openapi/markers"
	"proa.dev/object"
)

// Merge says how server-side apply merges objects of the types of these. It is made from the Go types and their markers; the
// generated one in client-go says the same, and brings 8 MB of code with it.
func Merge(objects ...object.Object) (managedfields.TypeConverter, error) {
	marks, err := markers.Load()
	if err != nil {
		return nil, err
	}
	b := &mergeTypes{marks: marks, seen: map[string]bool{}}
	for _, o := range objects {
		b.ref(reflect.TypeOf(o).Elem())
	}
	if b.err != nil {
		return nil, b.err
	}
	return managedfields.NewSchemeTypeConverter(object.Scheme(), &typed.Parser{Schema: schema.Schema{Types: b.out}}), nil
}

// mergeTypes collects the definitions of Go types.
type mergeTypes struct {
	marks markers.Index
	seen  map[string]bool // by name
	out   []schema.TypeDef
	err   error
}

// Scalars, and the types whose JSON is not what their Go fields say.
var (
	anyScalar = schema.Untyped
	aString   = schema.String
	aNumber   = schema.Numeric
	aBool     = schema.Boolean
)

// anything is a value of which nothing is known: its maps are merged, its lists are not.
func anything() schema.Atom {
	return schema.Atom{Scalar: &anyScalar, List: &schema.List{ElementType: schema.TypeRef{NamedType: &wholeName}, ElementRelationship: schema.Atomic},
		Map: &schema.Map{ElementType: schema.TypeRef{NamedType: &anyName}, ElementRelationship: schema.Separable}}
}

// whole is a value of which nothing is known, and that is replaced as a whole.
func whole() schema.Atom {
	self := schema.TypeRef{NamedType: &wholeName}
	return schema.Atom{Scalar: &anyScalar, List: &schema.List{ElementType: self, ElementRelationship: schema.Atomic},
		Map: &schema.Map{ElementType: self, ElementRelationship: schema.Atomic}}
}

var anyName, wholeName = "__untyped_deduced_", "__untyped_atomic_"

// opaque are the definitions of types that reflection would get wrong.
func opaque(t reflect.Type, name string) (schema.Atom, bool) {
	switch name {
	case "io.k8s.apimachinery.pkg.apis.meta.v1.Time", "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
		"io.k8s.apimachinery.pkg.api.resource.Quantity", "io.k8s.apimachinery.pkg.util.intstr.IntOrString":
		return schema.Atom{Scalar: &anyScalar}, true
	case "io.k8s.apimachinery.pkg.apis.meta.v1.Duration":
		return schema.Atom{Scalar: &aString}, true
	case "io.k8s.apimachinery.pkg.runtime.RawExtension", "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1":
		a := anything()
		return schema.Atom{Map: a.Map}, true
	}
	if marshals(t) { // what it is, its JSON says
		return anything(), true
	}
	return schema.Atom{}, false
}

// marshals says whether the JSON of a type is made by itself.
func marshals(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Marshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]())
}

// unlike are the fields that merge unlike other fields of their type.
var unlike = map[string]schema.ElementRelationship{
	"k8s.io/api/core/v1.PersistentVolumeSpec ClaimRef":            schema.Separable,
	"k8s.io/api/apps/v1.ControllerRevision Data":                  schema.Atomic,
	"k8s.io/api/resource/v1.OpaqueDeviceConfiguration Parameters": schema.Atomic,
	"k8s.io/api/resource/v1.AllocatedDeviceStatus Data":           schema.Atomic,
}

// modelName is the name by which schemas know a type: "io.k8s.api.core.v1.Pod".
func modelName(t reflect.Type) string {
	if m, ok := reflect.Zero(t).Interface().(interface{ OpenAPIModelName() string }); ok {
		return m.OpenAPIModelName()
	}
	return strings.ReplaceAll(t.PkgPath(), "/", ".") + "." + t.Name()
}

// ref refers to the definition of a struct type, which is added if it is not there.
func (b *mergeTypes) ref(t reflect.Type) schema.TypeRef {
	name := modelName(t)
	if !b.seen[name] {
		b.seen[name] = true // types may refer to themselves
		def := schema.TypeDef{Name: name}
		if a, ok := opaque(t, name); ok {
			def.Atom = a
			b.deduced()
		} else {
			m := &schema.Map{}
			if b.fields(t, m); len(m.Fields) == 0 {
				b.deduced()
				m.ElementType = schema.TypeRef{NamedType: &anyName}
			}
			if b.marks[typePath(t)+" -"].Map == "atomic" {
				m.ElementRelationship = schema.Atomic
			}
			def.Atom = schema.Atom{Map: m}
		}
		b.out = append(b.out, def)
	}
	return schema.TypeRef{NamedType: &name}
}

// deduced adds the definition of anything.
func (b *mergeTypes) deduced() {
	if !b.seen[anyName] {
		b.seen[anyName] = true
		b.out = append(b.out, schema.TypeDef{Name: anyName, Atom: anything()}, schema.TypeDef{Name: wholeName, Atom: whole()})
	}
}

func typePath(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }

// fields adds the fields of a struct and of those embedded in it.
func (b *mergeTypes) fields(t reflect.Type, m *schema.Map) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
			continue
		case name == "" && f.Anonymous:
			in := f.Type
			if in.Kind() == reflect.Pointer {
				in = in.Elem()
			}
			b.fields(in, m)
			continue
		case name == "":
			name = f.Name
		}
		mark := b.marks[typePath(t)+" "+name]
		field := schema.StructField{Name: name, Type: b.field(t, f, mark)}
		if !strings.Contains(opts, "omitempty") { // what Go would not leave out has its zero value where it is missing
			field.Default = zero(f.Type)
		}
		if mark.Default != "" { // the keys of lists may be left out where they have a default
			if err := json.Unmarshal([]byte(mark.Default), &field.Default); err != nil && b.err == nil {
				b.err = fmt.Errorf("default of %s %s: %w", typePath(t), name, err)
			}
		}
		m.Fields = append(m.Fields, field)
	}
}

// zero is the zero value of a scalar type; nil for others.
func zero(t reflect.Type) any {
	switch t.Kind() {
	case reflect.String:
		return ""
	case reflect.Bool:
		return false
	case reflect.Int, reflect.Int32, reflect.Int64:
		return 0
	}
	return nil
}

// rule is what the marker and tags of a field say of how it merges.
type rule struct {
	set    bool     // a list that is a set of its values
	keys   []string // a list whose items have keys
	atomic bool     // a map or struct that is replaced as a whole
	merged bool     // it is not, though its type says so
}

func ruleOf(in reflect.Type, f reflect.StructField, mark markers.Marker) (r rule) {
	if f.Type.Kind() == reflect.Slice {
		merge := strings.Contains(f.Tag.Get("patchStrategy"), "merge")
		switch key := f.Tag.Get("patchMergeKey"); {
		case mark.List == "map":
			r.keys = mark.Keys
		case mark.List == "set", mark.List == "" && merge && key == "":
			r.set = true
		case mark.List == "" && merge:
			r.keys = []string{key}
		}
	}
	how, ok := unlike[typePath(in)+" "+f.Name]
	r.atomic = mark.Map == "atomic" || ok && how == schema.Atomic
	r.merged = ok && how == schema.Separable
	return r
}

// field is the type of one field, with what its marker and tags say of how it merges.
func (b *mergeTypes) field(in reflect.Type, f reflect.StructField, mark markers.Marker) schema.TypeRef {
	r, rule := b.value(f.Type), ruleOf(in, f, mark)
	if l := r.Inlined.List; l != nil && (rule.set || rule.keys != nil) {
		l.ElementRelationship, l.Keys = schema.Associative, rule.keys
	}
	if how, ok := unlike[typePath(in)+" "+f.Name]; ok {
		r.ElementRelationship = &how
	}
	if mark.Map == "atomic" {
		if r.Inlined.Map != nil {
			r.Inlined.Map.ElementRelationship = schema.Atomic
		} else if r.NamedType != nil {
			atomic := schema.Atomic
			r.ElementRelationship = &atomic
		}
	}
	return r
}

// value is the type of values of t.
func (b *mergeTypes) value(t reflect.Type) schema.TypeRef {
	switch t.Kind() {
	case reflect.Pointer:
		return b.value(t.Elem())
	case reflect.Struct:
		return b.ref(t)
	case reflect.Map:
		return schema.TypeRef{Inlined: schema.Atom{Map: &schema.Map{ElementType: b.value(t.Elem())}}}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 { // base64
			return schema.TypeRef{Inlined: schema.Atom{Scalar: &aString}}
		}
		return schema.TypeRef{Inlined: schema.Atom{List: &schema.List{ElementType: b.value(t.Elem()), ElementRelationship: schema.Atomic}}}
	case reflect.String:
		return schema.TypeRef{Inlined: schema.Atom{Scalar: &aString}}
	case reflect.Bool:
		return schema.TypeRef{Inlined: schema.Atom{Scalar: &aBool}}
	case reflect.Interface:
		b.deduced()
		return schema.TypeRef{NamedType: &anyName}
	}
	return schema.TypeRef{Inlined: schema.Atom{Scalar: &aNumber}}
}
