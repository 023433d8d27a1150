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
	Warn: func(sa, _ *core.ServiceAccount) []string {
		const mountable = "kubernetes.io/enforce-mountable-secrets"
		if _, ok := sa.Annotations[mountable]; !ok {
			return nil
		}
		return []string{"metadata.annotations[" + mountable + "]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
	},
	Columns: kinds.Columns("Name", "Age"),
	Row: func(sa *core.ServiceAccount, now time.Time) []any {
		return []any{sa.Name, kinds.Age(sa.CreationTimestamp, now)}
	},
}
