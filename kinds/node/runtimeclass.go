package node

import (
	"time"

	node "k8s.io/api/node/v1"

	"proa.dev/kinds"
)

// RuntimeClass is node.k8s.io/v1 RuntimeClass: a name for a way to run containers.
var RuntimeClass = kinds.Def[node.RuntimeClass, *node.RuntimeClass]{
	Path:      "node.k8s.io/v1/runtimeclasses",
	Versioned: true,
	Cluster:   true,
	Validate:  validateClass, ValidateUpdate: validateClassUpdate,
	Columns: kinds.Columns("Name", "Handler", "Age"),
	Row: func(c *node.RuntimeClass, now time.Time) []any {
		return []any{c.Name, c.Handler, kinds.Age(c.CreationTimestamp, now)}
	},
}
