package coordination

import (
	coordination "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

func validateLease(l *coordination.Lease) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p := field.NewPath("spec")
		if n := l.Spec.LeaseDurationSeconds; n != nil && *n <= 0 {
			e.Invalid(p.Child("leaseDurationSeconds"), *n, "must be greater than 0")
		}
		check.NonNegativePtr(e, p.Child("leaseTransitions"), l.Spec.LeaseTransitions)
		if h := l.Spec.PreferredHolder; h != nil && *h != "" && (l.Spec.Strategy == nil || *l.Spec.Strategy == "") {
			e.Forbidden(p.Child("preferredHolder"), "may only be specified if `strategy` is defined")
		}
	})
}
