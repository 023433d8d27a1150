package custom

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	hub "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// schemas is the schema of one version in the forms that its users want, each made when it is needed first.
type schemas struct {
	structural func() *schema.Structural // nil: the version has no schema, or one that is not structural
	defaults   bool                      // there are defaults in it
	validator  func() validation.SchemaValidator
	status     func() validation.SchemaValidator // of the part under "status"
	rules      func() *cel.Validator             // nil: the version has no rules
}

func newSchemas(v *apiextensions.CustomResourceDefinitionVersion, d *apiextensions.CustomResourceDefinition) *schemas {
	s := &schemas{}
	var root *apiextensions.JSONSchemaProps
	if v.Schema != nil {
		root = v.Schema.OpenAPIV3Schema
	}
	s.defaults = root != nil && has(root, func(p *apiextensions.JSONSchemaProps) bool { return p.Default != nil })
	s.structural = sync.OnceValue(func() *schema.Structural { return structural(root, d.Spec.PreserveUnknownFields) })
	s.validator = sync.OnceValue(func() validation.SchemaValidator { return validator(internal(root)) })
	s.status = sync.OnceValue(func() validation.SchemaValidator {
		if in := internal(root); in != nil {
			if p, ok := in.Properties["status"]; ok {
				return validator(&p)
			}
		}
		return nil
	})
	s.rules = sync.OnceValue(func() *cel.Validator {
		st := s.structural()
		if st == nil || !has(root, func(p *apiextensions.JSONSchemaProps) bool { return len(p.XValidations) > 0 }) {
			return nil
		}
		return cel.NewValidator(st, true, celconfig.PerCallLimit)
	})
	return s
}

// internal is a schema in the form that the library works with; nil for nil. Schemas have been validated, so it does not fail.
func internal(s *apiextensions.JSONSchemaProps) *hub.JSONSchemaProps {
	if s == nil {
		return nil
	}
	out := &hub.JSONSchemaProps{}
	if err := apiextensions.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(s.DeepCopy(), out, nil); err != nil {
		return nil
	}
	return out
}

func structural(root *apiextensions.JSONSchemaProps, preserves bool) *schema.Structural {
	in := internal(root)
	if in == nil {
		return nil
	}
	s, err := schema.NewStructural(in)
	if err != nil {
		return nil
	}
	if !preserves {
		s = s.DeepCopy()
		if defaulting.PruneDefaults(s) != nil {
			return nil
		}
	}
	return s
}

func validator(s *hub.JSONSchemaProps) validation.SchemaValidator {
	v, _, err := validation.NewSchemaValidator(s)
	if err != nil {
		v, _, _ = validation.NewSchemaValidator(nil) // accepts everything
	}
	return v
}

// has says whether f holds for a schema or one inside it.
func has(s *apiextensions.JSONSchemaProps, f func(*apiextensions.JSONSchemaProps) bool) bool {
	if s == nil {
		return false
	}
	if f(s) {
		return true
	}
	for _, p := range s.Properties {
		if has(&p, f) {
			return true
		}
	}
	if s.Items != nil && has(s.Items.Schema, f) || s.AdditionalProperties != nil && has(s.AdditionalProperties.Schema, f) {
		return true
	}
	for _, list := range [][]apiextensions.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		if slices.ContainsFunc(list, func(p apiextensions.JSONSchemaProps) bool { return has(&p, f) }) {
			return true
		}
	}
	return has(s.Not, f)
}

// ModelName is how OpenAPI knows a kind: "com.example.v1.Gadget".
func ModelName(group, version, kind string) string {
	parts := strings.Split(group, ".")
	slices.Reverse(parts)
	return fmt.Sprintf("%s.%s.%s", strings.Join(parts, "."), version, kind)
}

// tree is v as JSON has it.
func tree(v interface{ MarshalJSON() ([]byte, error) }) (map[string]any, error) {
	b, err := v.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var out map[string]any
	return out, json.Unmarshal(b, &out)
}
