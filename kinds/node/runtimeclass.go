package node

import (
	"maps"
	"slices"
	"time"

	node "k8s.io/api/node/v1"

	"proa.dev/kinds"
	"proa.dev/kinds/core/podwarn"
)

// RuntimeClass is node.k8s.io/v1 RuntimeClass: a name for a way to run containers.
var RuntimeClass = kinds.Def[node.RuntimeClass, *node.RuntimeClass]{
	Path:      "node.k8s.io/v1/runtimeclasses",
	Versioned: true,
	Cluster:   true,
	Validate:  validateClass, ValidateUpdate: validateClassUpdate,
	Warn: func(c, _ *node.RuntimeClass) (out []string) {
		if c.Scheduling == nil {
			return nil
		}
		for _, k := range slices.Sorted(maps.Keys(c.Scheduling.NodeSelector)) {
			if msg := podwarn.NewerLabel(k); msg != "" {
				out = append(out, "scheduling.nodeSelector: "+msg)
			}
		}
		return out
	},
	Columns: kinds.Columns("Name", "Handler", "Age"),
	Row: func(c *node.RuntimeClass, now time.Time) []any {
		return []any{c.Name, c.Handler, kinds.Age(c.CreationTimestamp, now)}
	},
}
