package admissionregistration

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
)

// ValidatingAdmissionPolicy is admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy: expressions that must hold for what is written.
// It has an effect where a binding says so.
var ValidatingAdmissionPolicy = kinds.Def[registration.ValidatingAdmissionPolicy, *registration.ValidatingAdmissionPolicy]{
	Path:    "admissionregistration.k8s.io/v1/validatingadmissionpolicies",
	Cluster: true, Categories: []string{"api-extensions"},
	Generation: true, Status: true,
	Default: func(p *registration.ValidatingAdmissionPolicy) {
		if p.Spec.FailurePolicy == nil {
			p.Spec.FailurePolicy = ptr.To(registration.Fail)
		}
		defaultMatch(p.Spec.MatchConstraints)
	},
	PrepareStatus:  func(p, old *registration.ValidatingAdmissionPolicy) { metav1.ResetObjectMetaForStatus(p, old) },
	ValidateCreate: validatePolicyCreate, ValidateUpdate: validatePolicy, ValidateStatus: validatePolicyStatus,
	Warn: func(p, _ *registration.ValidatingAdmissionPolicy) []string { return warnReserved(p.Name) },
	Columns: kinds.Columns("Name", "Validations:integer|Validations indicates the number of validation rules defined in this configuration",
		"ParamKind|ParamKind specifies the kind of resources used to parameterize this policy", "Age"),
	Row: func(p *registration.ValidatingAdmissionPolicy, now time.Time) []any {
		return []any{p.Name, int64(len(p.Spec.Validations)), paramKindCell(p.Spec.ParamKind), kinds.Age(p.CreationTimestamp, now)}
	},
}
