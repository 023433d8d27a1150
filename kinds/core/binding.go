package core

import (
	core "k8s.io/api/core/v1"

	"proa.dev/kinds"
)

// Binding is v1 Binding: the scheduler's word that a pod goes to a node. It is never stored; pods/binding is its newer place.
var Binding = kinds.Def[core.Binding, *core.Binding]{
	Path: "v1/bindings", Verbs: []string{"create"}, Virtual: true,
}
