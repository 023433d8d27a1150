package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	rbac "k8s.io/api/rbac/v1"

	"proa.dev/apiserver/authn"
	"proa.dev/client"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// RBAC decides by the roles and bindings of a View.
type RBAC struct {
	view   client.View
	synced chan struct{} // closed when the index holds all that was there at the start
	left   atomic.Int32  // resources that have not been told of yet

	mu    sync.RWMutex                     // guards all below
	roles map[object.Key][]rbac.PolicyRule // cluster roles have no namespace
	bound map[object.Key]*binding
	grant map[place][]*grant
}

// place is where a subject's grants are found.
type place struct {
	namespace string // of the binding; "" is cluster-wide
	group     bool
	name      string // of the user or the group
}

// grant is one binding as one of its subjects sees it.
type grant struct {
	of     *binding
	reason string
}

// binding is a role binding, or a cluster role binding (no namespace).
type binding struct {
	role   object.Key
	kind   string // of the role
	places []place
}

// NewRBAC makes an authorizer that knows nothing before Run.
func NewRBAC(view client.View) *RBAC {
	z := &RBAC{
		view: view, synced: make(chan struct{}),
		roles: map[object.Key][]rbac.PolicyRule{}, bound: map[object.Key]*binding{}, grant: map[place][]*grant{},
	}
	z.left.Store(4)
	return z
}

// Synced is closed when all roles and bindings are known. Until then Authorize waits.
func (z *RBAC) Synced() <-chan struct{} { return z.synced }

// Run follows the roles and bindings until ctx ends.
func (z *RBAC) Run(ctx context.Context) error {
	return run.All(ctx,
		run.Component{Name: "watch clusterroles", Run: func(ctx context.Context) error {
			return follow(ctx, z, func(r *rbac.ClusterRole, gone bool) { z.setRole(object.KeyOf(r), r.Rules, gone) })
		}},
		run.Component{Name: "watch roles", Run: func(ctx context.Context) error {
			return follow(ctx, z, func(r *rbac.Role, gone bool) { z.setRole(object.KeyOf(r), r.Rules, gone) })
		}},
		run.Component{Name: "watch clusterrolebindings", Run: func(ctx context.Context) error {
			return follow(ctx, z, func(b *rbac.ClusterRoleBinding, gone bool) {
				z.setBinding(object.KeyOf(b), b.RoleRef, b.Subjects, gone)
			})
		}},
		run.Component{Name: "watch rolebindings", Run: func(ctx context.Context) error {
			return follow(ctx, z, func(b *rbac.RoleBinding, gone bool) {
				z.setBinding(object.KeyOf(b), b.RoleRef, b.Subjects, gone)
			})
		}},
	)
}

func follow[T any, P object.Ptr[T]](ctx context.Context, z *RBAC, set func(o P, gone bool)) error {
	return client.Watch(ctx, z.view, func(t client.EventType, now, _ P) {
		if t == client.Synced {
			if z.left.Add(-1) == 0 {
				close(z.synced)
			}
			return
		}
		set(now, t == client.Deleted)
	})
}

func (z *RBAC) setRole(key object.Key, rules []rbac.PolicyRule, gone bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if gone {
		delete(z.roles, key)
	} else {
		z.roles[key] = rules
	}
}

func (z *RBAC) setBinding(key object.Key, ref rbac.RoleRef, subjects []rbac.Subject, gone bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if old := z.bound[key]; old != nil {
		for _, p := range old.places {
			rest := slices.DeleteFunc(z.grant[p], func(g *grant) bool { return g.of == old })
			if len(rest) == 0 {
				delete(z.grant, p)
			} else {
				z.grant[p] = rest
			}
		}
		delete(z.bound, key)
	}
	if gone {
		return
	}
	b := &binding{kind: ref.Kind, role: object.Key{Name: ref.Name}}
	if ref.Kind == "Role" {
		b.role.Namespace = key.Namespace
	}
	for _, s := range subjects {
		p, ok := placeOf(s, key.Namespace)
		if !ok {
			continue
		}
		b.places = append(b.places, p)
		g := &grant{of: b, reason: reason(key, ref, s)}
		z.grant[p] = append(z.grant[p], g)
	}
	z.bound[key] = b
}

// placeOf is where the grants of s are kept. A service account is a user by another name.
func placeOf(s rbac.Subject, namespace string) (place, bool) {
	switch s.Kind {
	case rbac.UserKind:
		return place{namespace: namespace, name: s.Name}, true
	case rbac.GroupKind:
		return place{namespace: namespace, group: true, name: s.Name}, true
	case rbac.ServiceAccountKind:
		ns := s.Namespace
		if ns == "" {
			ns = namespace // in a RoleBinding the account may leave its namespace out
		}
		return place{namespace: namespace, name: authn.AccountPrefix + ns + ":" + s.Name}, ns != ""
	}
	return place{}, false
}

func reason(key object.Key, ref rbac.RoleRef, s rbac.Subject) string {
	who := fmt.Sprintf("%s %q", s.Kind, s.Name)
	if s.Kind == rbac.ServiceAccountKind {
		who = fmt.Sprintf("%s %q", s.Kind, s.Name+"/"+s.Namespace)
	}
	if key.Namespace == "" {
		return fmt.Sprintf("RBAC: allowed by ClusterRoleBinding %q of %s %q to %s", key.Name, ref.Kind, ref.Name, who)
	}
	return fmt.Sprintf("RBAC: allowed by RoleBinding %q of %s %q to %s", key.Name+"/"+key.Namespace, ref.Kind, ref.Name, who)
}

// Name is what reasons call it.
func (*RBAC) Name() string { return "rbac" }

// Authorize implements Authorizer. Members of system:masters may do everything, also while no role is known yet.
func (z *RBAC) Authorize(ctx context.Context, a Attributes) (Decision, error) {
	if slices.Contains(a.User.Groups, authn.Masters) {
		return Decision{Allowed: true}, nil
	}
	select {
	case <-z.synced:
	case <-ctx.Done():
		return Decision{}, fmt.Errorf("wait for the roles: %w", ctx.Err())
	}
	var d Decision
	var problems []error
	z.visit(a.User, a.Namespace, func(g *grant, rules []rbac.PolicyRule, err error) bool {
		if err != nil {
			problems = append(problems, err)
			return true
		}
		for i := range rules {
			if allows(&rules[i], &a) {
				d = Decision{Allowed: true, Reason: g.reason}
				return false
			}
		}
		return true
	})
	if !d.Allowed && len(problems) > 0 {
		d.Reason = "RBAC: " + joined(problems)
	}
	return d, nil
}

// visit calls fn for every grant of user that counts in namespace, cluster-wide ones first, until it returns false.
func (z *RBAC) visit(user authn.User, namespace string, fn func(*grant, []rbac.PolicyRule, error) bool) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	try := func(p place) bool {
		for _, g := range z.grant[p] {
			rules, ok := z.roles[g.of.role]
			var err error
			if !ok {
				err = fmt.Errorf("%s.rbac.authorization.k8s.io %q not found", strings.ToLower(g.of.kind), g.of.role.Name)
			}
			if !fn(g, rules, err) {
				return false
			}
		}
		return true
	}
	for _, ns := range []string{"", namespace} {
		if !try(place{namespace: ns, name: user.Name}) {
			return
		}
		for _, group := range user.Groups {
			if !try(place{namespace: ns, group: true, name: group}) {
				return
			}
		}
		if namespace == "" {
			return
		}
	}
}

// RulesFor is all that user may do in namespace ("" is only what counts everywhere). The error names roles that bindings mention but
// that do not exist; the rules are good all the same.
func (z *RBAC) RulesFor(user authn.User, namespace string) ([]rbac.PolicyRule, error) {
	var all []rbac.PolicyRule
	var problems []error
	z.visit(user, namespace, func(_ *grant, rules []rbac.PolicyRule, err error) bool {
		all = append(all, rules...)
		if err != nil {
			problems = append(problems, err)
		}
		return true
	})
	if len(problems) == 0 {
		return all, nil
	}
	return all, errors.New(joined(problems))
}

// joined lists problems as Kubernetes does: one as it is, several in brackets.
func joined(errs []error) string {
	if len(errs) == 1 {
		return errs[0].Error()
	}
	lines := make([]string, len(errs))
	for i, err := range errs {
		lines[i] = err.Error()
	}
	return "[" + strings.Join(lines, ", ") + "]"
}
