package custom

import (
	"encoding/json"
	"testing"
	"time"

	extensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"proa.dev/kinds/apiextensions"
)

// Whatever schema a definition has, it is refused, or its objects are shaped, given defaults, checked and shown.
func FuzzDefinition(f *testing.F) {
	for _, c := range [][2]string{
		{`{"type":"object","properties":{"spec":{"type":"object","properties":{"a":{"type":"string","default":"x","x-kubernetes-validations":[{"rule":"self != 'y'","messageExpression":"'no ' + self"}]}}}}}`, `{"spec":{"a":"y","b":1}}`},
		{`{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"o":{"type":"object","x-kubernetes-embedded-resource":true}}}`, `{"o":{"apiVersion":"v1","kind":"A","metadata":{"name":1}}}`},
		{`{"type":"object","properties":{"l":{"type":"array","items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"}}},"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"]}}}`, `{"l":[{"k":"a"},{"k":"a"},7]}`},
		{`{"type":"object","properties":{"n":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]}},"additionalProperties":false}`, `{"n":1e99}`},
		{`{"type":"object","properties":{"r":{"type":"string","pattern":"^(a+)+$","format":"date-time","enum":["a",null]}}}`, `{"r":null}`},
	} {
		f.Add(c[0], c[1], ".spec.a", `{.l[?(@.k=="a")].k}`)
	}
	f.Fuzz(func(t *testing.T, schema, object, selected, column string) {
		if len(schema) > 4000 || len(object) > 4000 {
			return
		}
		d := &extensions.CustomResourceDefinition{Spec: extensions.CustomResourceDefinitionSpec{Group: "a.b", Scope: "Cluster",
			Names:    extensions.CustomResourceDefinitionNames{Plural: "as", Singular: "a", Kind: "A", ListKind: "AList"},
			Versions: []extensions.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &extensions.CustomResourceValidation{OpenAPIV3Schema: &extensions.JSONSchemaProps{}}}}}}
		d.Name, d.Status.AcceptedNames = "as.a.b", d.Spec.Names
		v := &d.Spec.Versions[0]
		if json.Unmarshal([]byte(schema), v.Schema.OpenAPIV3Schema) != nil {
			return
		}
		if selected != "" {
			v.SelectableFields = []extensions.SelectableField{{JSONPath: selected}}
		}
		if column != "" {
			v.AdditionalPrinterColumns = []extensions.CustomResourceColumnDefinition{{Name: "C", Type: "string", JSONPath: column}}
		}
		apiextensions.CustomResourceDefinition.Default(d)
		if errs := apiextensions.CustomResourceDefinition.ValidateCreate(d); len(errs) > 0 {
			return
		}
		k, _, err := Kinds(d, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		tree := map[string]any{}
		if json.Unmarshal([]byte(object), &tree) != nil {
			return
		}
		tree["apiVersion"], tree["kind"] = "a.b/v1", "A"
		o := &unstructured.Unstructured{Object: tree}
		stored := o.DeepCopy()
		k.Custom.Prune(stored)
		if _, err := k.Custom.Coerce(o, true); err != nil {
			return
		}
		k.Default(o)
		began := time.Now()
		_ = k.Validate(o)
		_ = k.ValidateCreate(o)
		_ = k.ValidateUpdate(o, o)
		_ = k.Row(o, began)
		_ = k.Fields(o)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
		if _, err := k.Custom.Schemas(true); err != nil {
			t.Errorf("no OpenAPI: %v", err)
		}
		_, _ = k.Custom.Types() // a schema may merge in no way
	})
}
