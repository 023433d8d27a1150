package admissionregistration

import (
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
)

// MutatingAdmissionPolicyBinding is admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding: where a policy has an effect, and what
// parameters it has there.
var MutatingAdmissionPolicyBinding = kinds.Def[registration.MutatingAdmissionPolicyBinding, *registration.MutatingAdmissionPolicyBinding]{
	Path:    "admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings",
	Cluster: true, Categories: []string{"api-extensions"},
	Generation: true,
	Default:    func(b *registration.MutatingAdmissionPolicyBinding) { defaultMatch(b.Spec.MatchResources) },
	Validate: func(b *registration.MutatingAdmissionPolicyBinding) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			p := field.NewPath("spec")
			policyName(e, p.Child("policyName"), b.Spec.PolicyName)
			paramRef(e, p.Child("paramRef"), b.Spec.ParamRef)
			match(e, p.Child("matchResources"), b.Spec.MatchResources)
			if b.Spec.MatchResources != nil {
				noDeletes(e, p.Child("matchResources"), b.Spec.MatchResources.ResourceRules)
			}
		})
	},
	Warn:    func(b, _ *registration.MutatingAdmissionPolicyBinding) []string { return warnReserved(b.Name) },
	Columns: bindingColumns(),
	Row: func(b *registration.MutatingAdmissionPolicyBinding, now time.Time) []any {
		return []any{b.Name, b.Spec.PolicyName, paramRefCell(b.Spec.ParamRef), kinds.Age(b.CreationTimestamp, now)}
	},
}
