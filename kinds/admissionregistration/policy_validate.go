package admissionregistration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/jsonpath"

	"proa.dev/kinds/cel"
	"proa.dev/kinds/check"
)

const (
	maxAnnotations     = 20
	maxValueExpression = 5 * 1024
)

func validatePolicyCreate(p *registration.ValidatingAdmissionPolicy) field.ErrorList {
	return validatePolicy(p, nil)
}

// validatePolicy checks a policy that takes the place of old, which is nil for a new one.
func validatePolicy(policy, old *registration.ValidatingAdmissionPolicy) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s, p := &policy.Spec, field.NewPath("spec")
		x := &expressions{e: e, vars: cel.Vars{Params: s.ParamKind != nil, Authorizer: true}, compiler: cel.NewCompiler(cel.New)}
		var before known // of the match conditions
		same := false
		if old != nil {
			before = knownConditions(old.Spec.MatchConditions)
			x.remember(&old.Spec)
			same = equality.Semantic.DeepEqual(s.ParamKind, old.Spec.ParamKind) && equality.Semantic.DeepEqual(s.MatchConditions, old.Spec.MatchConditions)
		}
		failurePolicy(e, p.Child("failurePolicy"), s.FailurePolicy)
		if s.ParamKind != nil {
			paramKind(e, p.Child("paramKind"), s.ParamKind)
		}
		constraints(e, p.Child("matchConstraints"), s.MatchConstraints)
		if !same {
			conditions(e, p.Child("matchConditions"), s.MatchConditions, s.ParamKind != nil, before)
		}
		for i := range s.Variables {
			x.variable(p.Child("variables").Index(i), &s.Variables[i])
		}
		if len(s.Validations)+len(s.AuditAnnotations) == 0 {
			for _, name := range []string{"validations", "auditAnnotations"} {
				e.Required(p.Child(name), "validations or auditAnnotations must contain at least one item")
			}
			return
		}
		for i := range s.Validations {
			x.validation(p.Child("validations").Index(i), &s.Validations[i])
		}
		x.annotations(p.Child("auditAnnotations"), policy.Name, s.AuditAnnotations)
	})
}

// constraints checks what a policy is about.
func constraints(e *check.Errors, p *field.Path, m *registration.MatchResources) {
	if m == nil {
		e.Required(p, "")
		return
	}
	match(e, p, m)
	if len(m.ResourceRules) == 0 {
		e.Required(p.Child("resourceRules"), "")
	}
}

// expressions checks those of one policy, which share its variables.
type expressions struct {
	e        *check.Errors
	compiler *cel.Compiler
	vars     cel.Vars // what they may use

	// What the policy had before. Kubernetes knows variables by the validations.
	validations, messages, values, configurations known
}

func (x *expressions) remember(s *registration.ValidatingAdmissionPolicySpec) {
	for _, v := range s.Validations {
		x.validations = x.validations.add(v.Expression)
		x.messages = x.messages.add(v.MessageExpression)
	}
	for _, a := range s.AuditAnnotations {
		x.values = x.values.add(a.ValueExpression)
	}
}

var identifier = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)

// words are those of the language, which name nothing.
var words = []string{"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop",
	"package", "namespace", "return", "var", "void", "while"}

func (x *expressions) variable(p *field.Path, v *registration.Variable) {
	if strings.TrimSpace(v.Name) == "" {
		x.e.Required(p.Child("name"), "name is not specified")
	} else if !identifier.MatchString(v.Name) || slices.Contains(words, v.Name) {
		x.e.Invalid(p.Child("name"), v.Name, "must be a valid CEL identifier")
	}
	x.compiler.Compose()
	if strings.TrimSpace(v.Expression) == "" {
		x.e.Required(p.Child("expression"), "expression is not specified")
		return
	}
	compiled(x.e, p.Child("expression"), x.compiler.DefineAs(x.validations.age(v.Expression), v.Name, v.Expression, x.vars))
}

func (x *expressions) validation(p *field.Path, v *registration.Validation) {
	if strings.TrimSpace(v.Expression) == "" {
		x.e.Required(p.Child("expression"), "expression is not specified")
	} else {
		compiled(x.e, p.Child("expression"), x.compiler.CompileAs(x.validations.age(v.Expression), v.Expression, x.vars, cel.Bool))
	}
	if strings.TrimSpace(v.MessageExpression) != "" {
		vars := cel.Vars{Params: x.vars.Params} // a message does not depend on who may do what
		compiled(x.e, p.Child("messageExpression"), x.compiler.CompileAs(x.messages.age(v.MessageExpression), v.MessageExpression, vars, cel.String))
	} else if v.MessageExpression != "" {
		x.e.Invalid(p.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified")
	}
	switch message := strings.TrimSpace(v.Message); {
	case v.Message != "" && message == "":
		x.e.Invalid(p.Child("message"), v.Message, "must be non-empty if specified")
	case strings.ContainsAny(message, "\n\r"):
		x.e.Invalid(p.Child("message"), v.Message, "must not contain line breaks")
	}
	if v.Reason != nil {
		check.OneOf(x.e, p.Child("reason"), *v.Reason, metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)
	}
}

func (x *expressions) annotations(p *field.Path, policy string, list []registration.AuditAnnotation) {
	if len(list) > maxAnnotations {
		x.e.Invalid(p, list, fmt.Sprintf("must not have more than %d auditAnnotations", maxAnnotations))
	}
	for i, a := range list {
		at := p.Index(i)
		if policy == "" {
			x.e.Invalid(at.Child("key"), a.Key, "requires metadata.name be non-empty")
		} else {
			x.e.QualifiedName(at.Child("key"), policy+"/"+a.Key)
		}
		switch text := strings.TrimSpace(a.ValueExpression); {
		case text == "":
			x.e.Required(at.Child("valueExpression"), "valueExpression is not specified")
		case len(text) > maxValueExpression:
			x.e.Required(at.Child("valueExpression"), fmt.Sprintf("must not exceed %d bytes in length", maxValueExpression))
		default:
			out := x.compiler.CompileAs(x.values.age(a.ValueExpression), text, x.vars, cel.StringOrNull)
			out.Text = a.ValueExpression
			compiled(x.e, at.Child("valueExpression"), out)
		}
		if slices.ContainsFunc(list[:i], func(o registration.AuditAnnotation) bool { return o.Key == a.Key }) {
			x.e.Duplicate(at.Child("key"), a.Key)
		}
	}
}

func validatePolicyStatus(policy, _ *registration.ValidatingAdmissionPolicy) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p := field.NewPath("status")
		if t := policy.Status.TypeChecking; t != nil {
			for i, w := range t.ExpressionWarnings {
				at := p.Child("typeChecking", "expressionWarnings").Index(i)
				if w.Warning == "" {
					e.Required(at.Child("warning"), "")
				}
				fieldRef(e, at.Child("fieldRef"), strings.TrimSpace(w.FieldRef))
			}
		}
		e.Add(metav1validation.ValidateConditions(policy.Status.Conditions, p.Child("conditions"))...)
	})
}

func fieldRef(e *check.Errors, p *field.Path, ref string) {
	if ref == "" {
		e.Required(p, "")
	} else if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
		e.Invalid(p, ref, fmt.Sprintf("invalid JSONPath: %v", err))
	}
}
