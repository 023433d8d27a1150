package admissionregistration

import (
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
)

// ValidatingAdmissionPolicyBinding is admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding: where a policy has an effect, and
// what parameters it has there.
var ValidatingAdmissionPolicyBinding = kinds.Def[registration.ValidatingAdmissionPolicyBinding, *registration.ValidatingAdmissionPolicyBinding]{
	Path:    "admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
	Cluster: true, Categories: []string{"api-extensions"},
	Generation: true,
	Default:    func(b *registration.ValidatingAdmissionPolicyBinding) { defaultMatch(b.Spec.MatchResources) },
	Validate: func(b *registration.ValidatingAdmissionPolicyBinding) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			p := field.NewPath("spec")
			policyName(e, p.Child("policyName"), b.Spec.PolicyName)
			paramRef(e, p.Child("paramRef"), b.Spec.ParamRef)
			match(e, p.Child("matchResources"), b.Spec.MatchResources)
			actions(e, p.Child("validationActions"), b.Spec.ValidationActions)
		})
	},
	Warn:    func(b, _ *registration.ValidatingAdmissionPolicyBinding) []string { return warnReserved(b.Name) },
	Columns: bindingColumns(),
	Row: func(b *registration.ValidatingAdmissionPolicyBinding, now time.Time) []any {
		return []any{b.Name, b.Spec.PolicyName, paramRefCell(b.Spec.ParamRef), kinds.Age(b.CreationTimestamp, now)}
	},
}

func bindingColumns() []kinds.Column {
	return kinds.Columns("Name", "PolicyName|PolicyName indicates the policy definition which the policy binding binded to",
		"ParamRef|ParamRef indicates the param resource which sets the configuration param", "Age")
}
