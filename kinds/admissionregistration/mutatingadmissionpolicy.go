package admissionregistration

import (
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
)

// MutatingAdmissionPolicy is admissionregistration.k8s.io/v1 MutatingAdmissionPolicy: expressions that change what is written. It has an
// effect where a binding says so.
var MutatingAdmissionPolicy = kinds.Def[registration.MutatingAdmissionPolicy, *registration.MutatingAdmissionPolicy]{
	Path:    "admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
	Cluster: true, Categories: []string{"api-extensions"},
	Generation: true,
	Default: func(p *registration.MutatingAdmissionPolicy) {
		if p.Spec.FailurePolicy == nil {
			p.Spec.FailurePolicy = ptr.To(registration.Fail)
		}
		defaultMatch(p.Spec.MatchConstraints)
	},
	ValidateCreate: validateMutationsCreate, ValidateUpdate: validateMutations,
	Warn: func(p, _ *registration.MutatingAdmissionPolicy) []string { return warnReserved(p.Name) },
	Columns: kinds.Columns("Name", "Mutations:integer|Mutation indicates the number of mutations rules defined in this configuration",
		"ParamKind|ParamKind specifies the kind of resources used to parameterize this policy", "Age"),
	Row: func(p *registration.MutatingAdmissionPolicy, now time.Time) []any {
		return []any{p.Name, int64(len(p.Spec.Mutations)), paramKindCell(p.Spec.ParamKind), kinds.Age(p.CreationTimestamp, now)}
	},
}
