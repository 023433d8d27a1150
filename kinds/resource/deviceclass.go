package resource

import (
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/cel"
	"proa.dev/kinds/check"
	"proa.dev/kinds/core/resources"
)

// DeviceClass is resource.k8s.io/v1 DeviceClass: which devices a name stands for, and how they are set up.
var DeviceClass = kinds.Def[resource.DeviceClass, *resource.DeviceClass]{
	Path:           "resource.k8s.io/v1/deviceclasses",
	Cluster:        true,
	Generation:     true,
	Name:           func(name string, _ bool) []string { return content.IsDNS1123Subdomain(name) },
	ValidateCreate: func(c *resource.DeviceClass) field.ErrorList { return validateClass(c, nil) },
	ValidateUpdate: validateClass,
	Columns:        kinds.NameAndAge,
	Row: func(c *resource.DeviceClass, now time.Time) []any {
		return []any{c.Name, kinds.Age(c.CreationTimestamp, now)}
	},
}

// validateClass takes what has not changed as it was accepted before.
func validateClass(c, old *resource.DeviceClass) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s, p := &c.Spec, field.NewPath("spec")
		selectorAge, settled := cel.New, false
		if old != nil {
			if equality.Semantic.DeepEqual(s.Selectors, old.Spec.Selectors) {
				selectorAge = cel.Stored
			}
			settled = equality.Semantic.DeepEqual(s.Config, old.Spec.Config)
		}
		selectors(e, p.Child("selectors"), s.Selectors, selectorAge)
		list(e, p.Child("config"), s.Config, resource.DeviceConfigMaxSize, func(p *field.Path, c *resource.DeviceClassConfiguration) {
			configuration(e, p, &c.DeviceConfiguration, settled)
		})
		if n := s.ExtendedResourceName; n != nil && !resources.Extended(core.ResourceName(*n)) {
			e.Invalid(p.Child("extendedResourceName"), *n, "must be a valid extended resource name")
		}
	})
}
