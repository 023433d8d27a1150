package cel

import (
	"context"

	"github.com/google/cel-go/common/types"
	registration "k8s.io/api/admissionregistration/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"proa.dev/kinds/cel"
)

// Conditions are compiled match conditions. The zero value always matches.
type Conditions struct {
	compiler *cel.Compiler
	list     []cel.Expr
}

// Compile compiles match conditions, by a compiler of their own or that of a policy whose variables they may then use.
func Compile(c *cel.Compiler, list []registration.MatchCondition, vars cel.Vars) Conditions {
	out := Conditions{compiler: c, list: make([]cel.Expr, len(list))}
	for i := range list {
		out.list[i] = c.Compile(list[i].Expression, vars, cel.Bool)
	}
	return out
}

// Match says whether all conditions hold. One that does not decides, whatever is wrong with others; else the error says what is.
func (c Conditions) Match(ctx context.Context, in *cel.Input) (bool, error) {
	if len(c.list) == 0 {
		return true, nil
	}
	scope := cel.NewScope(ctx, c.compiler, in, cel.MatchBudget)
	holds := true
	var errs []error
	for i := range c.list {
		out, bad, fatal := scope.Eval(&c.list[i])
		if fatal != nil {
			return false, fatal
		}
		if bad != nil {
			errs = append(errs, bad)
		} else if out == types.False {
			holds = false
		}
	}
	if !holds {
		return false, nil
	}
	return len(errs) == 0, aggregate(errs)
}

func aggregate(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return utilerrors.NewAggregate(errs)
}
