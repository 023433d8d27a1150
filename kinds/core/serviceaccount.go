package core

import (
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kinds"
)

// ServiceAccount is v1 ServiceAccount: the identity of what runs in pods.
var ServiceAccount = kinds.Def[core.ServiceAccount, *core.ServiceAccount]{
	Path:  "v1/serviceaccounts",
	Short: []string{"sa"},
	Subs:  []kinds.Sub{{Name: "token", GVK: "authentication.k8s.io/v1/TokenRequest", Verbs: []string{"create"}}},
	Prepare: func(sa, _ *core.ServiceAccount) {
		for i, ref := range sa.Secrets {
			sa.Secrets[i] = core.ObjectReference{Name: ref.Name}
		}
	},
	Columns: kinds.Columns("Name", "Age"),
	Row: func(sa *core.ServiceAccount, now time.Time) []any {
		return []any{sa.Name, kinds.Age(sa.CreationTimestamp, now)}
	},
}
