package policy

import (
	"time"

	policy "k8s.io/api/policy/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
)

// PodDisruptionBudget is policy/v1 PodDisruptionBudget: how many of some pods may be taken away on purpose at once.
var PodDisruptionBudget = kinds.Def[policy.PodDisruptionBudget, *policy.PodDisruptionBudget]{
	Path:       "policy/v1/poddisruptionbudgets",
	Short:      []string{"pdb"},
	Generation: true,
	Status:     true,
	Versioned:  true,
	Name:       func(string, bool) []string { return nil }, // anything that can stand in a path
	// A label value in the selector that was accepted once may stay.
	ValidateCreate: func(b *policy.PodDisruptionBudget) field.ErrorList { return validateBudget(&b.Spec, strict) },
	ValidateUpdate: func(b, old *policy.PodDisruptionBudget) field.ErrorList {
		how := strict
		if s := old.Spec.Selector; s != nil {
			how.AllowInvalidLabelValueInSelector = len(metavalidation.ValidateLabelSelector(s, strict, nil)) > 0
		}
		return validateBudget(&b.Spec, how)
	},
	ValidateStatus: func(b, _ *policy.PodDisruptionBudget) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			s, p := &b.Status, field.NewPath("status")
			e.Add(metavalidation.ValidateConditions(s.Conditions, p.Child("conditions"))...)
			e.NonNegative(p.Child("disruptionsAllowed"), int64(s.DisruptionsAllowed))
			e.NonNegative(p.Child("currentHealthy"), int64(s.CurrentHealthy))
			e.NonNegative(p.Child("desiredHealthy"), int64(s.DesiredHealthy))
			e.NonNegative(p.Child("expectedPods"), int64(s.ExpectedPods))
		})
	},
	Columns: []kinds.Column{
		kinds.NameColumn,
		{Name: "Min Available", Type: "string", Description: "The minimum number of pods that must be available."},
		{Name: "Max Unavailable", Type: "string", Description: "The maximum number of pods that may be unavailable."},
		{Name: "Allowed Disruptions", Type: "integer", Description: "Calculated number of pods that may be disrupted at this time."},
		kinds.AgeColumn,
	},
	Row: func(b *policy.PodDisruptionBudget, now time.Time) []any {
		return []any{b.Name, orNone(b.Spec.MinAvailable), orNone(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), kinds.Age(b.CreationTimestamp, now)}
	},
}

var strict = metavalidation.LabelSelectorValidationOptions{}

func orNone(n *intstr.IntOrString) string {
	if n == nil {
		return "N/A"
	}
	return n.String()
}

func validateBudget(s *policy.PodDisruptionBudgetSpec, how metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p := field.NewPath("spec")
		if s.MinAvailable != nil && s.MaxUnavailable != nil {
			e.Invalid(p, *s, "minAvailable and maxUnavailable cannot be both set")
		}
		share(e, p.Child("minAvailable"), s.MinAvailable)
		share(e, p.Child("maxUnavailable"), s.MaxUnavailable)
		e.Add(metavalidation.ValidateLabelSelector(s.Selector, how, p.Child("selector"))...)
		if u := s.UnhealthyPodEvictionPolicy; u != nil {
			check.OneOf(e, p.Child("unhealthyPodEvictionPolicy"), *u, policy.AlwaysAllow, policy.IfHealthyBudget)
		}
	})
}

// share wants a number that is not negative, or a percentage up to 100.
func share(e *check.Errors, p *field.Path, v *intstr.IntOrString) {
	switch {
	case v == nil:
	case v.Type == intstr.Int:
		e.NonNegative(p, int64(v.IntVal))
	default:
		msgs := utilvalidation.IsValidPercent(v.StrVal)
		e.Invalids(p, *v, msgs)
		if n, err := intstr.GetScaledValueFromIntOrPercent(v, 100, false); len(msgs) == 0 && err == nil && n > 100 {
			e.Invalid(p, *v, "must not be greater than 100%")
		}
	}
}
