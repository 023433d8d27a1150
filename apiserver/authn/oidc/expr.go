package oidc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"proa.dev/apiserver/authn"
	kcel "proa.dev/kinds/cel"
)

// exprs are the expressions of one issuer. Those of rules come with what to say.
type exprs struct {
	username, groups, uid cel.Program
	extra                 []cel.Program
	claims, users         []rule
}

type rule struct {
	program cel.Program
	text    string
	message string // what to say where it is not fulfilled
}

// compile compiles the expressions of j, and loads the libraries for them if there are any.
func compile(j *Issuer) (*exprs, error) {
	e := &exprs{}
	var errs []error
	add := func(field, text, variable string, kinds ...*cel.Type) cel.Program {
		p, err := program(text, variable, kinds)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
		return p
	}
	m := &j.ClaimMappings
	list := []*cel.Type{cel.StringType, cel.ListType(cel.StringType), cel.DynType, cel.ListType(cel.DynType)}
	if x := m.Username.Expression; x != "" {
		e.username = add("claimMappings.username.expression", x, "claims", cel.StringType, cel.DynType)
		if strings.Contains(x, "claims.email") && !strings.Contains(allExpressions(j), "claims.email_verified") {
			errs = append(errs, errors.New("claimMappings.username.expression: claims.email_verified must be used in claimMappings.username.expression "+
				"or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"))
		}
	}
	if x := m.Groups.Expression; x != "" {
		e.groups = add("claimMappings.groups.expression", x, "claims", list...)
	}
	if x := m.UID.Expression; x != "" {
		e.uid = add("claimMappings.uid.expression", x, "claims", cel.StringType, cel.DynType)
	}
	for i, x := range m.Extra {
		e.extra = append(e.extra, add(fmt.Sprintf("claimMappings.extra[%d].valueExpression", i), x.ValueExpression, "claims", list...))
	}
	for i, r := range j.ClaimValidationRules {
		if r.Expression != "" {
			p := add(fmt.Sprintf("claimValidationRules[%d].expression", i), r.Expression, "claims", cel.BoolType)
			e.claims = append(e.claims, rule{p, r.Expression, r.Message})
		}
	}
	for i, r := range j.UserValidationRules {
		p := add(fmt.Sprintf("userValidationRules[%d].expression", i), r.Expression, "user", cel.BoolType)
		e.users = append(e.users, rule{p, r.Expression, r.Message})
	}
	return e, errors.Join(errs...)
}

func allExpressions(j *Issuer) string {
	all := j.ClaimMappings.Username.Expression
	for _, x := range j.ClaimMappings.Extra {
		all += "\n" + x.ValueExpression
	}
	for _, r := range j.ClaimValidationRules {
		all += "\n" + r.Expression
	}
	return all
}

// environment is what expressions of one variable may use: the claims of a token, which may be any, or the user made of them, whose fields
// are known.
func environment(variable string) (*cel.Env, error) {
	if variable == "user" {
		user := kcel.UserInfo()
		return kcel.Extend(kcel.Stored, []cel.EnvOption{cel.Variable(variable, user.CelType())}, user)
	}
	return kcel.Plain(cel.Variable(variable, cel.MapType(cel.StringType, cel.DynType)))
}

// program compiles an expression of one variable to one of some types.
func program(text, variable string, kinds []*cel.Type) (cel.Program, error) {
	env, err := environment(variable)
	if err != nil {
		return nil, err
	}
	ast, iss := env.Compile(text)
	if iss.Err() != nil {
		return nil, fmt.Errorf("compilation failed: %w", iss.Err())
	}
	for _, k := range kinds {
		if ast.OutputType().IsExactType(k) {
			return env.Program(ast)
		}
	}
	return nil, fmt.Errorf("must evaluate to %v", kinds[0])
}

// text evaluates an expression to a string.
func (e *exprs) text(ctx context.Context, p cel.Program, c claims) (string, error) {
	v, _, err := p.ContextEval(ctx, map[string]any{"claims": map[string]any(c)})
	if err != nil {
		return "", err
	}
	s, ok := v.(types.String)
	if !ok {
		return "", fmt.Errorf("expression must return a string, but got %v", v.Type())
	}
	return string(s), nil
}

// list evaluates an expression to a string or a list of strings. What is empty is left out.
func (e *exprs) list(ctx context.Context, p cel.Program, c claims) ([]string, error) {
	v, _, err := p.ContextEval(ctx, map[string]any{"claims": map[string]any(c)})
	if err != nil {
		return nil, err
	}
	return strs(v)
}

func strs(v ref.Val) ([]string, error) {
	switch v := v.(type) {
	case types.String:
		if v == "" {
			return nil, nil
		}
		return []string{string(v)}, nil
	case types.Null:
		return nil, nil
	case traits.Lister:
		var out []string
		for it := v.Iterator(); it.HasNext() == types.True; {
			some, err := strs(it.Next())
			if err != nil {
				return nil, err
			}
			out = append(out, some...)
		}
		return out, nil
	}
	return nil, fmt.Errorf("expression must return a string or a list of strings, but got %v", v.Type())
}

// rules says which rule the token does not fulfil.
func (e *exprs) rules(ctx context.Context, c claims, u authn.User) error {
	for _, r := range e.claims {
		if err := r.check(ctx, map[string]any{"claims": map[string]any(c)}); err != nil {
			return fmt.Errorf("oidc: error evaluating claim validation expression: %w", err)
		}
	}
	if len(e.users) == 0 {
		return nil
	}
	extra := map[string]any{}
	for k, v := range u.Extra {
		extra[k] = v
	}
	groups := u.Groups
	if groups == nil {
		groups = []string{}
	}
	who := map[string]any{"username": u.Name, "uid": u.UID, "groups": groups, "extra": extra}
	for _, r := range e.users {
		if err := r.check(ctx, map[string]any{"user": who}); err != nil {
			return fmt.Errorf("oidc: error evaluating user info validation rule: %w", err)
		}
	}
	return nil
}

func (r rule) check(ctx context.Context, vars map[string]any) error {
	v, _, err := r.program.ContextEval(ctx, vars)
	if err != nil {
		return err
	}
	if v != types.True {
		return fmt.Errorf("validation expression '%s' failed: %s", r.text, r.message)
	}
	return nil
}
