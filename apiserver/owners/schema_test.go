package owners

import (
	"fmt"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/yaml"

	"proa.dev/kinds/all"
	"proa.dev/object"
)

// The generated schema of client-go is what ours has to say, for every kind that we serve and everything in them.
func TestMergeSchemaIsKubernetes(t *testing.T) {
	theirs := applyconfigurations.NewTypeConverter(object.Scheme())
	var objects []object.Object
	for _, k := range all.Kinds() {
		objects = append(objects, k.New())
		for _, also := range k.Also {
			objects = append(objects, also.New())
		}
	}
	ours, err := Merge(objects...)
	if err != nil {
		t.Fatal(err)
	}
	seen, compared := map[string]bool{}, 0
	for _, k := range all.Kinds() {
		o := k.New()
		o.GetObjectKind().SetGroupVersionKind(k.GVK())
		want, name := schemaOf(t, theirs, o)
		got, same := schemaOf(t, ours, o)
		if name != same {
			t.Errorf("%s is called %s, want %s", k.Kind, same, name)
			continue
		}
		c := comparison{t, got, want, seen}
		if _, ok := want.FindNamedType(name); !ok {
			continue // client-go has no apply configuration for it: reviews
		}
		compared++
		c.named(name)
	}
	if compared < 25 || len(seen) < 200 {
		t.Errorf("only %d kinds and %d types were compared", compared, len(seen))
	}
}

// CustomResourceDefinitions have schemas inside, where a value may be of any type.
func TestSchemasCanBeApplied(t *testing.T) {
	types, err := Merge(&apiextensions.CustomResourceDefinition{})
	if err != nil {
		t.Fatal(err)
	}
	var o unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        type: object
        properties:
          size: {type: integer, default: 2, enum: [1, 2, a]}
          list: {type: array, items: {type: object, additionalProperties: {type: string}}, default: [{a: b, c: [{}]}]}
          free: {type: object, additionalProperties: true, example: {a: [1, {b: c}]}}
`), &o.Object); err != nil {
		t.Fatal(err)
	}
	if _, err := types.ObjectToTyped(&o); err != nil {
		t.Error(err)
	}
}

func schemaOf(t *testing.T, c managedfields.TypeConverter, o runtime.Object) (*schema.Schema, string) {
	t.Helper()
	v, err := c.ObjectToTyped(o)
	if err != nil {
		name, nerr := object.Scheme().ToOpenAPIDefinitionName(o.GetObjectKind().GroupVersionKind())
		if nerr != nil {
			t.Fatal(err, nerr)
		}
		return &schema.Schema{}, name
	}
	return v.Schema(), *v.TypeRef().NamedType
}

type comparison struct {
	t         *testing.T
	got, want *schema.Schema
	seen      map[string]bool
}

func (c comparison) named(name string) {
	if c.seen[name] {
		return
	}
	c.seen[name] = true
	want, ok1 := c.want.FindNamedType(name)
	got, ok2 := c.got.FindNamedType(name)
	if !ok1 || !ok2 {
		c.t.Errorf("%s: defined by them: %v, by us: %v", name, ok1, ok2)
		return
	}
	c.atom(name, got.Atom, want.Atom)
}

func (c comparison) atom(at string, got, want schema.Atom) {
	if g, w := kindOf(got), kindOf(want); g != w {
		c.t.Errorf("%s is a %s, want a %s", at, g, w)
		return
	}
	if want.List != nil && want.Scalar == nil {
		if got.List.ElementRelationship != want.List.ElementRelationship || !slices.Equal(got.List.Keys, want.List.Keys) {
			c.t.Errorf("%s is %s by %v, want %s by %v", at, got.List.ElementRelationship, got.List.Keys, want.List.ElementRelationship, want.List.Keys)
		}
		c.ref(at+"[]", got.List.ElementType, want.List.ElementType)
	}
	if want.Map == nil || want.Scalar != nil {
		return
	}
	if merges(got.Map) != merges(want.Map) {
		c.t.Errorf("%s: %q, want %q", at, got.Map.ElementRelationship, want.Map.ElementRelationship)
	}
	for _, f := range want.Map.Fields {
		mine, ok := got.Map.FindField(f.Name)
		if !ok {
			c.t.Errorf("%s.%s is missing", at, f.Name)
			continue
		}
		if s, ok := f.Default.(string); ok && s != "" && fmt.Sprint(mine.Default) != s {
			c.t.Errorf("%s.%s has default %v, want %s", at, f.Name, mine.Default, s)
		}
		c.ref(at+"."+f.Name, mine.Type, f.Type)
	}
	if len(want.Map.Fields) == 0 && len(got.Map.Fields) == 0 {
		c.ref(at+"{}", got.Map.ElementType, want.Map.ElementType)
	}
}

func merges(m *schema.Map) bool { return m.ElementRelationship != schema.Atomic }

func (c comparison) ref(at string, got, want schema.TypeRef) {
	if want.NamedType != nil && *want.NamedType == "__untyped_atomic_" {
		if got.ElementRelationship == nil || *got.ElementRelationship != schema.Atomic {
			c.t.Errorf("%s is not atomic", at)
		}
		return
	}
	if want.NamedType != nil && got.NamedType != nil {
		if *want.NamedType != *got.NamedType {
			c.t.Errorf("%s is a %s, want a %s", at, *got.NamedType, *want.NamedType)
		}
		if g, w := got.ElementRelationship, want.ElementRelationship; (g != nil) != (w != nil) || g != nil && *g != *w {
			c.t.Errorf("%s: %v, want %v", at, g, w)
		}
		if *want.NamedType != anyName {
			c.named(*want.NamedType)
		}
		return
	}
	g, _ := c.got.Resolve(got)
	w, _ := c.want.Resolve(want)
	c.atom(at, g, w)
}

func kindOf(a schema.Atom) string {
	switch {
	case a.Scalar != nil:
		return string(*a.Scalar)
	case a.List != nil:
		return "list"
	case a.Map != nil:
		return "map"
	}
	return "nothing"
}
