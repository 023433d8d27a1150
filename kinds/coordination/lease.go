package coordination

import (
	"time"

	coordination "k8s.io/api/coordination/v1"

	"proa.dev/kinds"
)

// Lease is coordination.k8s.io/v1 Lease: who holds a role, and until when; also the heartbeat of a node.
var Lease = kinds.Def[coordination.Lease, *coordination.Lease]{
	Path:      "coordination.k8s.io/v1/leases",
	Versioned: true,
	Validate:  validateLease,
	Columns:   kinds.Columns("Name", "Holder", "Age"),
	Row: func(l *coordination.Lease, now time.Time) []any {
		holder := ""
		if l.Spec.HolderIdentity != nil {
			holder = *l.Spec.HolderIdentity
		}
		return []any{l.Name, holder, kinds.Age(l.CreationTimestamp, now)}
	},
}
