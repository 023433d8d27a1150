package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	registration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	config "k8s.io/apiserver/pkg/apis/cel"
	kcel "k8s.io/apiserver/pkg/cel"
	"k8s.io/utils/ptr"

	"proa.dev/apiserver/cel"
	xcel "proa.dev/kinds/cel"
)

// checker is a compiled ValidatingAdmissionPolicy.
type checker struct {
	compiler    *xcel.Compiler
	conditions  cel.Conditions
	ignore      bool
	rules       []rule
	annotations []annotation
}

// rule is one validation.
type rule struct {
	holds, message xcel.Expr
	said           string // the message without an expression
	reason         metav1.StatusReason
}

// annotation is one for the audit log.
type annotation struct {
	key   string
	value xcel.Expr
}

// decision is what came of one validation. The zero value is that all is well.
type decision struct {
	deny    bool
	message string
	reason  metav1.StatusReason // "": Invalid
}

// noted is what came of one annotation: a value ("": none), or what is wrong.
type noted struct{ key, value, wrong string }

func compileChecker(k *registration.ValidatingAdmissionPolicy) func() *checker {
	return sync.OnceValue(func() *checker {
		s := &k.Spec
		vars := xcel.Vars{Params: s.ParamKind != nil, Authorizer: true}
		c := &checker{compiler: xcel.NewCompiler(xcel.Stored), ignore: ptr.Deref(s.FailurePolicy, "") == registration.Ignore}
		define(c.compiler, s.Variables, vars)
		c.conditions = cel.Compile(c.compiler, s.MatchConditions, vars)
		for _, v := range s.Validations {
			r := rule{holds: c.compiler.Compile(v.Expression, vars, xcel.Bool), said: strings.TrimSpace(v.Message), reason: ptr.Deref(v.Reason, metav1.StatusReasonInvalid)}
			if v.MessageExpression != "" {
				r.message = c.compiler.Compile(v.MessageExpression, xcel.Vars{Params: vars.Params}, xcel.String)
			}
			c.rules = append(c.rules, r)
		}
		for _, a := range s.AuditAnnotations {
			c.annotations = append(c.annotations, annotation{a.Key, c.compiler.Compile(a.ValueExpression, vars, xcel.StringOrNull)})
		}
		return c
	})
}

func define(c *xcel.Compiler, list []registration.Variable, vars xcel.Vars) {
	c.Compose()
	for _, v := range list {
		c.Define(v.Name, v.Expression, vars)
	}
}

// failed is the decision that an error leads to.
func (c *checker) failed(err error) decision {
	return decision{deny: !c.ignore, message: err.Error()}
}

// check evaluates the policy for one request and one value of its parameters.
func (c *checker) check(ctx context.Context, s *cel.Subject, params ref.Val, namespace *core.Namespace) ([]decision, []noted) {
	matched, err := c.conditions.Match(ctx, s.Input(params, nil))
	if err != nil {
		return []decision{c.failed(err)}, nil
	}
	if !matched {
		return nil, nil
	}
	scope := xcel.NewScope(ctx, c.compiler, s.Input(params, namespace), xcel.Budget)
	results := make([]ref.Val, len(c.rules))
	problems := make([]*xcel.Error, len(c.rules))
	for i := range c.rules {
		var fatal *xcel.Error
		if results[i], problems[i], fatal = scope.Eval(&c.rules[i].holds); fatal != nil {
			return []decision{c.failed(fatal)}, nil
		}
	}
	// Messages and annotations do not depend on what the authorizer says.
	open := s.Input(params, namespace)
	open.Authorizer = nil
	messages, fatal := c.messages(ctx, open, scope.Remaining(), results)
	decisions := make([]decision, len(c.rules))
	for i := range c.rules {
		switch r := &c.rules[i]; {
		case problems[i] != nil:
			decisions[i] = c.failed(problems[i])
		case fatal != nil && (errors.Is(fatal, kcel.ErrInternal) || errors.Is(fatal, kcel.ErrOutOfBudget)):
			decisions[i] = c.failed(fmt.Errorf("failed messageExpression: %w", fatal))
		case results[i] != types.True:
			decisions[i] = decision{deny: true, message: r.word(messages[i]), reason: r.reason}
		}
	}
	notes, bad := c.notes(ctx, open)
	if bad != nil {
		return []decision{c.failed(bad)}, nil
	}
	return decisions, notes
}

// messages evaluates the message expressions: those of all rules, since all of them count against the budget.
func (c *checker) messages(ctx context.Context, in *xcel.Input, budget int64, results []ref.Val) ([]string, *xcel.Error) {
	out := make([]string, len(results))
	scope := xcel.NewScope(ctx, c.compiler, in, budget)
	for i := range c.rules {
		v, _, fatal := scope.Eval(&c.rules[i].message)
		if fatal != nil {
			return out, fatal
		}
		if v != nil {
			out[i], _ = v.Value().(string)
		}
	}
	return out, nil
}

// word is the message of a rule that does not hold; made is what its expression has made.
func (r *rule) word(made string) string {
	made = strings.TrimSpace(made)
	switch {
	case made != "" && len(made) <= config.MaxEvaluatedMessageExpressionSizeBytes && !strings.Contains(made, "\n"):
		return made
	case r.said != "":
		return r.said
	}
	return "failed expression: " + strings.TrimSpace(r.holds.Text)
}

// notes evaluates the annotations for the audit log.
func (c *checker) notes(ctx context.Context, in *xcel.Input) ([]noted, *xcel.Error) {
	out := make([]noted, 0, len(c.annotations))
	scope := xcel.NewScope(ctx, c.compiler, in, xcel.Budget)
	for i := range c.annotations {
		a := &c.annotations[i]
		v, bad, fatal := scope.Eval(&a.value)
		switch {
		case fatal != nil:
			return nil, fatal
		case bad != nil && c.ignore:
		case bad != nil:
			out = append(out, noted{key: a.key, wrong: bad.Error()})
		case v.Type() == types.StringType:
			out = append(out, noted{key: a.key, value: strings.TrimSpace(string(v.(types.String)))})
		case v.Type() != types.NullType:
			out = append(out, noted{key: a.key, wrong: fmt.Sprintf("valueExpression '%v' resulted in unsupported return type: %v. Return type must be either string or null.", a.value.Text, v.Type())})
		}
	}
	return out, nil
}
