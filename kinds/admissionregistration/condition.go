package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kcel "k8s.io/apiserver/pkg/cel"

	"proa.dev/kinds/cel"
	"proa.dev/kinds/check"
)

const maxConditions = 64

// known are expressions that the object has already.
type known map[string]bool

func (k known) age(text string) cel.Age {
	if k[text] {
		return cel.Stored
	}
	return cel.New
}

// add is k with one more. k may be nil.
func (k known) add(text string) known {
	if k == nil {
		k = known{}
	}
	k[text] = true
	return k
}

// knownConditions are the expressions of conditions.
func knownConditions(list []registration.MatchCondition) (k known) {
	for _, c := range list {
		k = k.add(c.Expression)
	}
	return k
}

// conditions checks match conditions. They see no variables of a policy; params says whether they see its parameters.
func conditions(e *check.Errors, p *field.Path, list []registration.MatchCondition, params bool, before known) {
	if len(list) > maxConditions {
		e.Add(field.TooMany(p, len(list), maxConditions))
	}
	compiler := cel.NewCompiler(cel.New)
	for i, c := range list {
		at := p.Index(i)
		if text := strings.TrimSpace(c.Expression); text == "" {
			e.Required(at.Child("expression"), "")
		} else {
			compiled(e, at.Child("expression"), compiler.CompileAs(before.age(text), text, cel.Vars{Params: params, Authorizer: true}, cel.Bool))
		}
		if c.Name == "" {
			e.Required(at.Child("name"), "")
			continue
		}
		e.QualifiedName(at.Child("name"), c.Name)
		if slices.ContainsFunc(list[:i], func(o registration.MatchCondition) bool { return o.Name == c.Name }) {
			e.Duplicate(at.Child("name"), c.Name)
		}
	}
}

// compiled reports what is wrong with an expression.
func compiled(e *check.Errors, p *field.Path, x cel.Expr) {
	switch {
	case x.Err == nil:
	case x.Err.Type == kcel.ErrorTypeRequired:
		e.Required(p, x.Err.Detail)
	case x.Err.Type == kcel.ErrorTypeInvalid:
		e.Invalid(p, x.Text, x.Err.Detail)
	case x.Err.Type == kcel.ErrorTypeInternal:
		e.Add(field.InternalError(p, x.Err))
	default:
		e.Add(field.InternalError(p, fmt.Errorf("unsupported error type: %w", x.Err)))
	}
}
