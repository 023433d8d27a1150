package core

import (
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/kinds"
)

// PodTemplate is v1 PodTemplate: a pod template by itself.
var PodTemplate = kinds.Def[core.PodTemplate, *core.PodTemplate]{
	Path:       "v1/podtemplates",
	Generation: true,
	Validate:   validatePodTemplateObject,
	Default:    func(t *core.PodTemplate) { DefaultPodTemplate(&t.Template) },
	Columns:    kinds.Columns("Name", "Containers", "Images", "Pod Labels"),
	Row: func(t *core.PodTemplate, _ time.Time) []any {
		names, images := NamesAndImages(t.Template.Spec.Containers)
		return []any{t.Name, names, images, labels.FormatLabels(t.Template.Labels)}
	},
}
