package authz

import (
	"context"
	"sync/atomic"

	rbac "k8s.io/api/rbac/v1"

	"proa.dev/apiserver/authn"
)

// Current is a Union that may be replaced while it is asked. Set comes before anything else.
type Current struct{ now atomic.Pointer[Union] }

// Set has u decide from now on.
func (c *Current) Set(u Union) { c.now.Store(&u) }

// Authorize implements Authorizer.
func (c *Current) Authorize(ctx context.Context, a Attributes) (Decision, error) {
	return c.now.Load().Authorize(ctx, a)
}

// RulesFor is that of the Union.
func (c *Current) RulesFor(user authn.User, namespace string) ([]rbac.PolicyRule, error) {
	return c.now.Load().RulesFor(user, namespace)
}

// Escalation is that of the Union.
func (c *Current) Escalation(user authn.User, namespace string, rules []rbac.PolicyRule) error {
	return c.now.Load().Escalation(user, namespace, rules)
}
