package node

import (
	corev1 "k8s.io/api/core/v1"
	node "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
)

func validateClass(c *node.RuntimeClass) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if c.Handler == "" {
			e.Required(field.NewPath("handler"), "")
		} else {
			e.Label(field.NewPath("handler"), c.Handler)
		}
		if c.Overhead != nil {
			core.ValidateResources(e, field.NewPath("overhead"), &corev1.ResourceRequirements{Limits: c.Overhead.PodFixed})
		}
		if s := c.Scheduling; s != nil {
			p := field.NewPath("scheduling")
			e.Labels(p.Child("nodeSelector"), s.NodeSelector)
			core.ValidateTolerations(e, p.Child("tolerations"), s.Tolerations)
			seen := map[corev1.Toleration]bool{}
			for i, t := range s.Tolerations {
				key := corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}
				if seen[key] {
					e.Duplicate(p.Child("tolerations").Index(i), t)
				}
				seen[key] = true
			}
		}
	})
}

func validateClassUpdate(c, old *node.RuntimeClass) field.ErrorList {
	return check.Run(func(e *check.Errors) { e.Immutable(field.NewPath("handler"), c.Handler, old.Handler) })
}
