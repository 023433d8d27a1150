package networking

import (
	"time"

	networking "k8s.io/api/networking/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
)

// IngressClass is networking.k8s.io/v1 IngressClass: who acts on which Ingresses.
var IngressClass = kinds.Def[networking.IngressClass, *networking.IngressClass]{
	Path:           "networking.k8s.io/v1/ingressclasses",
	Cluster:        true,
	Generation:     true,
	ValidateCreate: validateIngressClass, ValidateUpdate: validateIngressClassUpdate,
	Default: func(c *networking.IngressClass) {
		if p := c.Spec.Parameters; p != nil && p.Scope == nil {
			p.Scope = ptr.To(networking.IngressClassParametersReferenceScopeCluster)
		}
	},
	Columns: kinds.Columns("Name", "Controller|Controller that is responsible for handling this class",
		"Parameters|A reference to a resource with additional parameters", "Age"),
	Row: func(c *networking.IngressClass, now time.Time) []any {
		name, parameters := c.Name, "<none>"
		if c.Annotations[networking.AnnotationIsDefaultIngressClass] == "true" {
			name += " (default)"
		}
		if p := c.Spec.Parameters; p != nil {
			parameters = p.Kind
			if p.APIGroup != nil {
				parameters += "." + *p.APIGroup
			}
			parameters += "/" + p.Name
		}
		return []any{name, c.Spec.Controller, parameters, kinds.Age(c.CreationTimestamp, now)}
	},
}
