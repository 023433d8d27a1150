package policy

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/common/types/ref"
	registration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"

	"proa.dev/apiserver/cel"
	xcel "proa.dev/kinds/cel"
)

// mutator is a compiled MutatingAdmissionPolicy.
type mutator struct {
	compiler   *xcel.Compiler
	conditions cel.Conditions
	changes    []change
	again      bool // runs again when others have changed what it has made
}

// change is one mutation: an apply configuration, or a JSON patch.
type change struct {
	makes xcel.Expr
	apply bool
}

func compileMutator(k *registration.MutatingAdmissionPolicy) func() *mutator {
	return sync.OnceValue(func() *mutator {
		s := &k.Spec
		vars := xcel.Vars{Params: s.ParamKind != nil, Authorizer: true}
		m := &mutator{compiler: xcel.NewCompiler(xcel.Stored), again: s.ReinvocationPolicy == registration.IfNeededReinvocationPolicy}
		define(m.compiler, s.Variables, vars)
		m.conditions = cel.Compile(m.compiler, s.MatchConditions, vars)
		vars.Patches = true
		for _, c := range s.Mutations {
			switch {
			case c.PatchType == registration.PatchTypeJSONPatch && c.JSONPatch != nil:
				m.changes = append(m.changes, change{makes: m.compiler.Compile(c.JSONPatch.Expression, vars, xcel.Patches)})
			case c.PatchType == registration.PatchTypeApplyConfiguration && c.ApplyConfiguration != nil:
				m.changes = append(m.changes, change{m.compiler.Compile(c.ApplyConfiguration.Expression, vars, xcel.Object), true})
			}
		}
		return m
	})
}

// evaluate is what the expression of a change makes of the request.
func (m *mutator) evaluate(ctx context.Context, c *change, s *cel.Subject, params ref.Val, namespace *core.Namespace) (ref.Val, error) {
	if c.makes.Err != nil {
		return nil, c.makes.Err
	}
	in, err := s.PlainInput(params, namespace)
	if err != nil {
		return nil, fmt.Errorf("failed to prepare %s variable for evaluation: %w", "object", err)
	}
	out, bad, fatal := xcel.NewScope(ctx, m.compiler, in, xcel.Budget).Eval(&c.makes)
	switch {
	case fatal != nil:
		return nil, fatal
	case bad != nil:
		return nil, bad
	}
	return out, nil
}

// key names one run of a policy.
type key struct{ policy, binding, namespace, name string }

// history is which policies have run for a request, so that those that want it run again when others have changed something since.
type history struct {
	ran     map[key]bool // and want to run again if something changes
	pending map[key]bool // are to run again
}

// changed has those run again that have run before.
func (h *history) changed() {
	for k := range h.ran {
		h.pending[k] = true
	}
	clear(h.ran)
}

// words is a message about a policy.
func words(policy, binding string, err error) string {
	if binding == "" {
		return fmt.Sprintf("policy %q denied request: %v", policy, err)
	}
	return fmt.Sprintf("policy '%s' with binding '%s' denied request: %v", policy, binding, strings.TrimSpace(err.Error()))
}
