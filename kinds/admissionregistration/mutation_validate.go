package admissionregistration

import (
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/cel"
	"proa.dev/kinds/check"
)

func validateMutationsCreate(p *registration.MutatingAdmissionPolicy) field.ErrorList {
	return validateMutations(p, nil)
}

// validateMutations checks a policy that takes the place of old, which is nil for a new one.
func validateMutations(policy, old *registration.MutatingAdmissionPolicy) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s, p := &policy.Spec, field.NewPath("spec")
		x := &expressions{e: e, vars: cel.Vars{Params: s.ParamKind != nil, Authorizer: true}, compiler: cel.NewCompiler(cel.New)}
		x.compiler.Compose()
		var before known
		same := false
		if old != nil {
			before = knownConditions(old.Spec.MatchConditions)
			for _, m := range old.Spec.Mutations {
				if m.ApplyConfiguration != nil {
					x.configurations = x.configurations.add(m.ApplyConfiguration.Expression)
				}
			}
			same = equality.Semantic.DeepEqual(s.ParamKind, old.Spec.ParamKind) && equality.Semantic.DeepEqual(s.MatchConditions, old.Spec.MatchConditions)
		}
		failurePolicy(e, p.Child("failurePolicy"), s.FailurePolicy)
		if s.ParamKind != nil {
			paramKind(e, p.Child("paramKind"), s.ParamKind)
		}
		constraints(e, p.Child("matchConstraints"), s.MatchConstraints)
		if s.MatchConstraints != nil {
			noDeletes(e, p.Child("matchConstraints"), s.MatchConstraints.ResourceRules)
		}
		if !same {
			conditions(e, p.Child("matchConditions"), s.MatchConditions, s.ParamKind != nil, before)
		}
		for i := range s.Variables {
			x.variable(p.Child("variables").Index(i), &s.Variables[i])
		}
		if len(s.Mutations) == 0 {
			e.Required(p.Child("mutations"), "mutations must contain at least one item")
		}
		x.vars.Patches = true
		for i := range s.Mutations {
			x.mutation(p.Child("mutations").Index(i), &s.Mutations[i])
		}
		check.OneOfRequired(e, p.Child("reinvocationPolicy"), s.ReinvocationPolicy, registration.IfNeededReinvocationPolicy, registration.NeverReinvocationPolicy)
	})
}

func (x *expressions) mutation(p *field.Path, m *registration.Mutation) {
	apply, patch := p.Child("applyConfiguration"), p.Child("jsonPatch")
	switch m.PatchType {
	case "":
		x.e.Required(p.Child("patchType"), "")
	case registration.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			x.e.Required(patch, "must be specified when patchType is JSONPatch")
		} else {
			x.change(patch.Child("expression"), m.JSONPatch.Expression, cel.Patches)
		}
		if m.ApplyConfiguration != nil {
			x.e.Invalid(apply, "{applyConfiguration}", "must not be specified when patchType is JSONPatch")
		}
	case registration.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			x.e.Required(apply, "must be specified when patchType is ApplyConfiguration")
		} else {
			x.change(apply.Child("expression"), m.ApplyConfiguration.Expression, cel.Object)
		}
		if m.JSONPatch != nil {
			x.e.Invalid(patch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration")
		}
	default:
		check.OneOf(x.e, p.Child("patchType"), m.PatchType, registration.PatchTypeApplyConfiguration, registration.PatchTypeJSONPatch)
	}
}

func (x *expressions) change(p *field.Path, text string, want cel.Want) {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		x.e.Required(p, "")
		return
	}
	compiled(x.e, p, x.compiler.CompileAs(x.configurations.age(text), trimmed, x.vars, want))
}
