package core

import (
	"slices"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kinds"
)

// Namespace is v1 Namespace: the room that names stand in.
var Namespace = kinds.Def[core.Namespace, *core.Namespace]{
	Path:     "v1/namespaces",
	Cluster:  true,
	Short:    []string{"ns"},
	Status:   true,
	Verbs:    []string{"create", "delete", "get", "list", "patch", "update", "watch"}, // never by collection
	Subs:     []kinds.Sub{{Name: "finalize", GVK: "v1/Namespace", Verbs: []string{"update"}, Validate: validateFinalize}},
	Name:     kinds.LabelName,
	Default:  defaultNamespace,
	Prepare:  prepareNamespace,
	Validate: validateNamespace, ValidateStatus: validateNamespaceStatus,
	Fields: func(n *core.Namespace) map[string]string {
		return map[string]string{"status.phase": string(n.Status.Phase)}
	},
	Columns: kinds.Described(kinds.Columns("Name", "Status", "Age"), "The status of the namespace"),
	Row: func(n *core.Namespace, now time.Time) []any {
		return []any{n.Name, string(n.Status.Phase), kinds.Age(n.CreationTimestamp, now)}
	},
}

func defaultNamespace(n *core.Namespace) {
	if n.Name != "" {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[core.LabelMetadataName] = n.Name
	}
	orElse(&n.Status.Phase, core.NamespaceActive)
}

// prepareNamespace keeps the finaliser that lets the namespace's content go first; only /finalize may take it away.
func prepareNamespace(n, old *core.Namespace) {
	if old != nil {
		n.Spec.Finalizers = old.Spec.Finalizers
		return
	}
	n.Status = core.NamespaceStatus{Phase: core.NamespaceActive}
	if !slices.Contains(n.Spec.Finalizers, core.FinalizerKubernetes) {
		n.Spec.Finalizers = append(n.Spec.Finalizers, core.FinalizerKubernetes)
	}
	defaultNamespace(n) // a generated name is known by now
}
