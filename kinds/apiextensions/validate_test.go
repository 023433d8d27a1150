package apiextensions

import (
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// Selectable fields of a schema that is none are an error: the library's checks panic there.
func TestSelectableFieldsOfNoSchema(t *testing.T) {
	d := &apiextensions.CustomResourceDefinition{Spec: apiextensions.CustomResourceDefinitionSpec{Group: "a.b", Scope: "Cluster",
		Names: apiextensions.CustomResourceDefinitionNames{Plural: "as", Singular: "a", Kind: "A", ListKind: "AList"},
		Versions: []apiextensions.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
			SelectableFields: []apiextensions.SelectableField{{JSONPath: ".a"}},
			Schema: &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &apiextensions.JSONSchemaProps{Type: "object",
				AllOf: []apiextensions.JSONSchemaProps{{Items: &apiextensions.JSONSchemaPropsOrArray{JSONSchemas: []apiextensions.JSONSchemaProps{{}}}}}}}}}}}
	d.Name = "as.a.b"
	errs := validateCreate(d)
	if len(errs) == 0 || !strings.HasPrefix(errs[0].Field, "spec.versions[0].schema.openAPIV3Schema") {
		t.Errorf("got %v", errs)
	}
	d.Spec.Versions[0].Schema.OpenAPIV3Schema = &apiextensions.JSONSchemaProps{Type: "object", Properties: map[string]apiextensions.JSONSchemaProps{"a": {Type: "string"}}}
	if errs := unselectable(d); len(errs) != 0 {
		t.Errorf("a schema that is one: %v", errs)
	}
	// Nor is there a schema where additional properties are only said to be there.
	d.Spec.Versions[0].Schema.OpenAPIV3Schema = &apiextensions.JSONSchemaProps{Type: "object", AdditionalProperties: &apiextensions.JSONSchemaPropsOrBool{Allows: true}}
	d.Spec.Versions[0].SelectableFields[0].JSONPath = ".a.b"
	if errs := validateCreate(d); len(errs) == 0 {
		t.Error("a path to nowhere is taken")
	}
}
