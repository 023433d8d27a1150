package cel

import (
	"context"
	"fmt"
	"math"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
	admission "k8s.io/api/admission/v1"
	core "k8s.io/api/core/v1"
	config "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	kcel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/lazy"
	"k8s.io/apiserver/pkg/cel/library"
)

// The budgets, in cel-go's units of cost, of which a second of one core has about ten million.
const (
	Budget      = config.RuntimeCELCostBudget                // for all expressions of a policy for one object
	MatchBudget = config.RuntimeCELCostBudgetMatchConditions // for all match conditions of a webhook or policy for one object
)

// Input is what the variables are. Values are made from objects by ValueOf or PlainValueOf.
type Input struct {
	Object, Old, Params ref.Val // nil: null
	Request             *admission.AdmissionRequest
	Namespace           *core.Namespace // nil: null
	// Authorizer answers the checks of authorizer, as User and, for authorizer.requestResource, about Resource. Nil: there is none.
	Authorizer authorizer.UnconditionalAuthorizer
	User       user.Info
	Resource   library.Resource

	request, namespace ref.Val // made once
}

// Scope is one evaluation of some expressions of a policy on one input: variables are evaluated at most once in it. It is for one
// goroutine.
type Scope struct {
	ctx    context.Context
	names  scopeNames
	budget int64
	lazily int64 // cost of variables since it was last asked for
}

// scopeNames are the values of the variables.
type scopeNames struct {
	object, old, params, request, namespace, authorizer, resource, variables any
}

// ResolveName implements interpreter.Activation.
func (n *scopeNames) ResolveName(name string) (any, bool) {
	switch name {
	case "object":
		return n.object, true
	case "oldObject":
		return n.old, true
	case "params":
		return n.params, true
	case "request":
		return n.request, true
	case "namespaceObject":
		return n.namespace, true
	case "authorizer":
		return n.authorizer, n.authorizer != nil
	case "authorizer.requestResource":
		return n.resource, n.resource != nil
	case "variables":
		return n.variables, true
	}
	return nil, false
}

// Parent implements interpreter.Activation.
func (n *scopeNames) Parent() interpreter.Activation { return nil }

// NewScope begins an evaluation of expressions that c has compiled; c may be nil where they use no variables of a policy.
func NewScope(ctx context.Context, c *Compiler, in *Input, budget int64) *Scope {
	s := &Scope{ctx: ctx, budget: budget}
	n := &s.names
	if in.Object != nil {
		n.object = in.Object
	}
	if in.Old != nil {
		n.old = in.Old
	}
	if in.Params != nil {
		n.params = in.Params
	}
	if in.request == nil {
		in.request, in.namespace = ValueOf(in.Request), ValueOf(in.Namespace)
	}
	n.request, n.namespace = in.request, in.namespace
	if in.Authorizer != nil {
		n.authorizer = library.NewAuthorizerVal(in.User, in.Authorizer)
		n.resource = library.NewResourceAuthorizerVal(in.User, in.Authorizer, in.Resource)
	}
	if c != nil && c.variables != nil {
		n.variables = s.compose(c)
	}
	return s
}

// compose is the value of the variable "variables".
func (s *Scope) compose(c *Compiler) ref.Val {
	all := lazy.NewMapValue(c.variables)
	for i := range c.named {
		v := &c.named[i]
		all.Append(v.name, func(*lazy.MapValue) ref.Val { return s.variable(v) })
	}
	return all
}

func (s *Scope) variable(v *variable) ref.Val {
	if v.Err != nil {
		return types.NewErr("composited variable %q fails to compile: %v", v.name, v.Err)
	}
	out, details, err := v.program.ContextEval(s.ctx, &s.names)
	if details == nil {
		return types.NewErr("unable to get evaluation details of variable %q", v.name)
	}
	cost := details.ActualCost()
	if cost == nil {
		return types.NewErr("unable to calculate cost of variable %q", v.name)
	}
	s.lazily += int64(min(*cost, math.MaxInt64/2))
	if err != nil {
		return types.NewErr("composited variable %q fails to evaluate: %v", v.name, err)
	}
	return out
}

// Remaining is what is left of the budget.
func (s *Scope) Remaining() int64 { return s.budget }

// Eval evaluates e. The first error is of the expression; the second one ends the evaluation of all: the budget is spent, or the cost
// is unknown. e without a text evaluates to nil.
func (s *Scope) Eval(e *Expr) (out ref.Val, bad *Error, fatal *Error) {
	switch {
	case e.Text == "" && e.program == nil && e.Err == nil:
		return nil, nil, nil
	case e.Err != nil:
		return nil, &Error{Type: kcel.ErrorTypeInvalid, Detail: fmt.Sprintf("compilation error: %v", e.Err), Cause: e.Err}, nil
	}
	out, details, err := e.program.ContextEval(s.ctx, &s.names)
	if !s.spend(uint64(s.lazily)) {
		return nil, nil, broke("validation failed due to running out of cost budget, no further validation rules will be run")
	}
	s.lazily = 0
	const unknown = "runtime cost could not be calculated for expression: %v, no further expression will be run"
	if details == nil {
		return nil, nil, &Error{Type: kcel.ErrorTypeInternal, Detail: fmt.Sprintf(unknown, e.Text)}
	}
	cost := details.ActualCost()
	if cost == nil {
		return nil, nil, broke(fmt.Sprintf(unknown, e.Text))
	}
	if !s.spend(*cost) {
		return nil, nil, broke("validation failed due to running out of cost budget, no further validation rules will be run")
	}
	if err != nil {
		return nil, &Error{Type: kcel.ErrorTypeInvalid, Detail: fmt.Sprintf("expression '%v' resulted in error: %v", e.Text, err)}, nil
	}
	return out, nil, nil
}

// spend takes cost from the budget, and says whether there was so much.
func (s *Scope) spend(cost uint64) bool {
	if cost > math.MaxInt64 || int64(cost) > s.budget {
		s.budget = -1
		return false
	}
	s.budget -= int64(cost)
	return true
}

func broke(detail string) *Error {
	return &Error{Type: kcel.ErrorTypeInvalid, Detail: detail, Cause: kcel.ErrOutOfBudget}
}
