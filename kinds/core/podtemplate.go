package core

import (
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/core/gated"
	"proa.dev/kinds/core/podwarn"
)

// PodTemplate is v1 PodTemplate: a pod template by itself.
var PodTemplate = kinds.Def[core.PodTemplate, *core.PodTemplate]{
	Path:       "v1/podtemplates",
	Generation: true,
	Prepare:    gated.Prepare(func(t *core.PodTemplate) *core.PodSpec { return &t.Template.Spec }),
	Validate:   validatePodTemplateObject,
	Warn: func(t, old *core.PodTemplate) []string {
		if old != nil && t.Generation == old.Generation {
			return nil
		}
		return podwarn.Template(field.NewPath("template"), &t.Template)
	},
	Default: func(t *core.PodTemplate) { DefaultPodTemplate(&t.Template) },
	Columns: kinds.Columns("Name", "Containers|Names of each container in the template.", "Images|Images referenced by each container in the template.",
		"Pod Labels|The labels for the pod template."),
	Row: func(t *core.PodTemplate, _ time.Time) []any {
		names, images := NamesAndImages(t.Template.Spec.Containers)
		return []any{t.Name, names, images, labels.FormatLabels(t.Template.Labels)}
	},
}
