package admission

import (
	"context"
	"slices"

	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/client"
	"proa.dev/object"
)

// ruler is what the escalation check needs of an authoriser.
type ruler interface {
	RulesFor(user authn.User, namespace string) []rbac.PolicyRule
}

// escalator is an authoriser that words the refusal itself.
type escalator interface {
	Escalation(user authn.User, namespace string, rules []rbac.PolicyRule) error
}

// roleEscalation refuses roles, and bindings of roles, that allow more than who writes them may do, unless they have the verb
// escalate (on roles) or bind (on the role that is bound).
func (s *Start) roleEscalation(ctx context.Context, r *Request) error {
	if r.Op != Create && r.Op != Update || r.Kind.Group != rbac.GroupName || slices.Contains(r.User.Groups, authn.Masters) {
		return nil
	}
	switch o := r.Object.(type) {
	case *rbac.Role:
		if old, ok := r.Old.(*rbac.Role); ok && equality.Semantic.DeepEqual(old.Rules, o.Rules) {
			return nil
		}
		return s.mayGrant(ctx, r, o.Namespace, "escalate", "roles", o.Name, o.Rules)
	case *rbac.ClusterRole:
		if old, ok := r.Old.(*rbac.ClusterRole); ok && equality.Semantic.DeepEqual(old.Rules, o.Rules) && equality.Semantic.DeepEqual(old.AggregationRule, o.AggregationRule) {
			return nil
		}
		rules := o.Rules
		if o.AggregationRule != nil { // it may come to mean anything
			rules = append(slices.Clone(rules), rbac.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}},
				rbac.PolicyRule{NonResourceURLs: []string{"*"}, Verbs: []string{"*"}})
		}
		return s.mayGrant(ctx, r, "", "escalate", "clusterroles", o.Name, rules)
	case *rbac.RoleBinding:
		if old, ok := r.Old.(*rbac.RoleBinding); ok && equality.Semantic.DeepEqual(old.RoleRef, o.RoleRef) && equality.Semantic.DeepEqual(old.Subjects, o.Subjects) {
			return nil
		}
		return s.mayBind(ctx, r, o.Namespace, o.RoleRef)
	case *rbac.ClusterRoleBinding:
		if old, ok := r.Old.(*rbac.ClusterRoleBinding); ok && equality.Semantic.DeepEqual(old.RoleRef, o.RoleRef) && equality.Semantic.DeepEqual(old.Subjects, o.Subjects) {
			return nil
		}
		return s.mayBind(ctx, r, "", o.RoleRef)
	}
	return nil
}

// mayBind checks the rules of the role that a binding in namespace refers to.
func (s *Start) mayBind(ctx context.Context, r *Request, namespace string, ref rbac.RoleRef) error {
	if ref.Kind == "Role" {
		var rules []rbac.PolicyRule
		if role, ok := client.Lookup[rbac.Role](s.view, object.Key{Namespace: namespace, Name: ref.Name}); ok {
			rules = role.Rules
		} else if !s.allowed(ctx, r, namespace, "bind", "roles", ref.Name) {
			return r.Forbid("role %q not found", ref.Name)
		}
		return s.mayGrant(ctx, r, namespace, "bind", "roles", ref.Name, rules)
	}
	var rules []rbac.PolicyRule
	if role, ok := client.Lookup[rbac.ClusterRole](s.view, object.Key{Name: ref.Name}); ok {
		rules = role.Rules
	} else if !s.allowed(ctx, r, namespace, "bind", "clusterroles", ref.Name) {
		return r.Forbid("clusterrole %q not found", ref.Name)
	}
	return s.mayGrant(ctx, r, namespace, "bind", "clusterroles", ref.Name, rules)
}

// mayGrant says whether the user may let others do what rules allow.
func (s *Start) mayGrant(ctx context.Context, r *Request, namespace, verb, resource, name string, rules []rbac.PolicyRule) error {
	if s.allowed(ctx, r, namespace, verb, resource, name) {
		return nil
	}
	if e, ok := s.deps.Authz.(escalator); ok {
		if err := e.Escalation(r.User, namespace, rules); err != nil {
			return r.Forbid("%v", err)
		}
		return nil
	}
	if u, ok := s.deps.Authz.(ruler); ok {
		if covered, missing := authz.Covers(u.RulesFor(r.User, namespace), rules); !covered {
			return r.Forbid("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%v", r.User.Name, r.User.Groups, missing)
		}
	}
	return nil
}

func (s *Start) allowed(ctx context.Context, r *Request, namespace, verb, resource, name string) bool {
	d, err := s.deps.Authz.Authorize(ctx, authz.Attributes{User: r.User, Verb: verb, Group: rbac.GroupName, Version: "v1", Resource: resource,
		Namespace: namespace, Name: name, ResourceRequest: true})
	return err == nil && d.Allowed
}
