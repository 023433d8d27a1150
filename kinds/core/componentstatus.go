package core

import (
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kinds"
)

// ComponentStatus is v1 ComponentStatus: whether a part of the control plane is well. It is asked, never stored.
var ComponentStatus = kinds.Def[core.ComponentStatus, *core.ComponentStatus]{
	Path:    "v1/componentstatuses",
	Cluster: true,
	Virtual: true,
	Short:   []string{"cs"},
	Verbs:   []string{"get", "list"},
	Columns: kinds.Columns("Name", "Status|Status of the component conditions", "Message|Message of the component conditions",
		"Error|Error of the component conditions"),
	Row: func(s *core.ComponentStatus, _ time.Time) []any {
		for _, c := range s.Conditions {
			if c.Type == core.ComponentHealthy && c.Status == core.ConditionTrue {
				return []any{s.Name, "Healthy", c.Message, c.Error}
			} else if c.Type == core.ComponentHealthy {
				return []any{s.Name, "Unhealthy", c.Message, c.Error}
			}
		}
		return []any{s.Name, "Unknown", "", ""}
	},
}
