package expression

import (
	"context"

	"github.com/google/cel-go/common/types"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"proa.dev/kinds/cel"
)

// Match says whether all conditions are true of in. One that is false decides; else one that cannot be evaluated is an error, or, where
// failures are ignored, no match.
func Match(ctx context.Context, conditions []cel.Expr, in *cel.Input, ignore bool) (bool, error) {
	scope := cel.NewScope(ctx, nil, in, cel.MatchBudget)
	var errs []error
	for i := range conditions {
		out, bad, fatal := scope.Eval(&conditions[i])
		switch {
		case fatal != nil:
			if ignore {
				return false, nil
			}
			return false, fatal
		case bad != nil:
			errs = append(errs, bad)
		case out == types.False:
			return false, nil
		}
	}
	if len(errs) == 0 {
		return true, nil
	}
	if ignore {
		return false, nil
	}
	return false, utilerrors.NewAggregate(errs)
}
