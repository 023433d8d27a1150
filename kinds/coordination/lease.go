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
	Prepare: func(l, old *coordination.Lease) { // elections of leases are off, as in Kubernetes; what is there stays
		if old == nil || old.Spec.Strategy == nil {
			l.Spec.Strategy = nil
		}
		if old == nil || old.Spec.PreferredHolder == nil {
			l.Spec.PreferredHolder = nil
		}
	},
	Columns: kinds.Columns("Name", "Holder|"+coordination.LeaseSpec{}.SwaggerDoc()["holderIdentity"], "Age"),
	Row: func(l *coordination.Lease, now time.Time) []any {
		holder := ""
		if l.Spec.HolderIdentity != nil {
			holder = *l.Spec.HolderIdentity
		}
		return []any{l.Name, holder, kinds.Age(l.CreationTimestamp, now)}
	},
}
