package apiextensions

import (
	"context"
	"fmt"
	"slices"

	hub "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// internal is d in the form that the checks know.
func internal(d *apiextensions.CustomResourceDefinition) (*hub.CustomResourceDefinition, field.ErrorList) {
	out := &hub.CustomResourceDefinition{}
	d = d.DeepCopy() // the conversion shares memory with d, and the checks fill in what is missing
	if errs := unselectable(d); len(errs) > 0 {
		return nil, errs
	}
	if err := apiextensions.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(d, out, nil); err != nil {
		return nil, field.ErrorList{field.InternalError(field.NewPath("spec"), err)}
	}
	return out, nil
}

// guarded makes an error of a panic of the library's checks: they follow a path through additionalProperties that are true or false as if
// those had a schema.
func guarded(check func() field.ErrorList) (errs field.ErrorList) {
	defer func() {
		if p := recover(); p != nil {
			errs = field.ErrorList{field.Invalid(field.NewPath("spec", "versions"), "", "a path leads through a schema that does not say what is there")}
		}
	}()
	return check()
}

// unselectable finds versions that have selectable fields and a schema that is none: the library's checks take them for granted and panic.
func unselectable(d *apiextensions.CustomResourceDefinition) (errs field.ErrorList) {
	for i, v := range d.Spec.Versions {
		if len(v.SelectableFields) == 0 || v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		in := &hub.JSONSchemaProps{}
		err := apiextensions.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema.DeepCopy(), in, nil)
		if err == nil {
			_, err = structural.NewStructural(in)
		}
		if err != nil {
			errs = append(errs, field.Invalid(field.NewPath("spec", "versions").Index(i).Child("schema", "openAPIV3Schema"), "", err.Error()))
		}
	}
	return errs
}

func validateCreate(d *apiextensions.CustomResourceDefinition) field.ErrorList {
	in, errs := internal(d)
	if errs != nil {
		return errs
	}
	return without(guarded(func() field.ErrorList { return validation.ValidateCustomResourceDefinition(context.Background(), in) }),
		metavalidation.ValidateObjectMetaAccessor(d, false, anyName, field.NewPath("metadata")))
}

func validateUpdate(d, old *apiextensions.CustomResourceDefinition) field.ErrorList {
	return change(d, old, validation.ValidateCustomResourceDefinitionUpdate)
}

func validateStatus(d, old *apiextensions.CustomResourceDefinition) field.ErrorList {
	return change(d, old, validation.ValidateUpdateCustomResourceDefinitionStatus)
}

func change(d, old *apiextensions.CustomResourceDefinition, check func(ctx context.Context, d, old *hub.CustomResourceDefinition) field.ErrorList) field.ErrorList {
	in, errs := internal(d)
	if errs != nil {
		return errs
	}
	was, errs := internal(old)
	if errs != nil {
		return errs
	}
	meta := field.NewPath("metadata")
	return without(guarded(func() field.ErrorList { return check(context.Background(), in, was) }), append(metavalidation.ValidateObjectMetaAccessor(d, false, anyName, meta),
		metavalidation.ValidateObjectMetaAccessorUpdate(d, old, meta)...))
}

func anyName(string, bool) []string { return nil }

// without leaves out what every kind is checked for anyway.
func without(errs, told field.ErrorList) field.ErrorList {
	return slices.DeleteFunc(errs, func(e *field.Error) bool {
		return slices.ContainsFunc(told, func(t *field.Error) bool { return t.Field == e.Field && t.Error() == e.Error() })
	})
}

// warn tells of formats that nobody checks, and of sets that cannot be merged. What was there before is not told again.
func warn(d, old *apiextensions.CustomResourceDefinition) []string {
	var was []string
	if old != nil {
		was = warnings(old)
	}
	return slices.DeleteFunc(warnings(d), func(w string) bool { return slices.Contains(was, w) })
}

func warnings(d *apiextensions.CustomResourceDefinition) []string {
	var formats, sets []string
	version := environment.DefaultCompatibilityVersion()
	for i := range d.Spec.Versions {
		s := d.Spec.Versions[i].Schema
		if s == nil || s.OpenAPIV3Schema == nil {
			continue
		}
		in := &hub.JSONSchemaProps{}
		if apiextensions.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(s.OpenAPIV3Schema, in, nil) != nil {
			continue // it does not pass validation either
		}
		validation.SchemaHas(in, func(s *hub.JSONSchemaProps) bool {
			if s.Format != "" {
				asked := &spec.Schema{SchemaProps: spec.SchemaProps{Format: s.Format, Type: []string{s.Type}}}
				for _, f := range schemavalidation.GetUnrecognizedFormats(asked, version) {
					formats = append(formats, fmt.Sprintf("unrecognized format %q", f))
				}
			}
			if s.XListType != nil && *s.XListType == "set" && s.Items != nil && s.Items.Schema != nil && (s.Items.Schema.Type == "object" || s.Items.Schema.Type == "array") {
				sets = append(sets, fmt.Sprintf("x-kubernetes-list-type: set for items of type %q is not supported by server-side apply or CEL validation rules", s.Items.Schema.Type))
			}
			return false
		})
	}
	slices.Sort(sets)
	return append(formats, slices.Compact(sets)...)
}
