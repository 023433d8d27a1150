package admission

import (
	"context"
	"slices"

	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/client"
	"proa.dev/object"
)

// escalator is an authoriser that says what rules allow beyond what a user may do.
type escalator interface {
	Escalation(user authn.User, namespace string, rules []rbac.PolicyRule) error
}

// everything is what the rules of an aggregated role may come to mean.
var everything = []rbac.PolicyRule{
	{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}, {NonResourceURLs: []string{"*"}, Verbs: []string{"*"}},
}

// roleEscalation refuses roles, and bindings of roles, that allow more than who writes them may do, unless they have the verb
// escalate (on roles) or bind (on the role that is bound). It is asked before validation: what nobody may write need not be right.
func (s *Start) roleEscalation(ctx context.Context, r *Request) error {
	if r.Op != Create && r.Op != Update || r.Kind.Group != rbac.GroupName || slices.Contains(r.User.Groups, authn.Masters) {
		return nil
	}
	if r.Old != nil && onlyForCollection(r.Object, r.Old) {
		return nil
	}
	switch o := r.Object.(type) {
	case *rbac.Role:
		return s.mayWrite(ctx, r, "roles", o.Rules, false)
	case *rbac.ClusterRole:
		old, _ := r.Old.(*rbac.ClusterRole)
		return s.mayWrite(ctx, r, "clusterroles", o.Rules, aggregates(o) || aggregates(old))
	case *rbac.RoleBinding:
		return s.mayBind(ctx, r, r.Key.Namespace, o.RoleRef)
	case *rbac.ClusterRoleBinding:
		return s.mayBind(ctx, r, "", o.RoleRef)
	}
	return nil
}

func aggregates(r *rbac.ClusterRole) bool {
	return r != nil && r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

// onlyForCollection says whether a change is one that the garbage collector makes: of owners and finalizers.
func onlyForCollection(now, old object.Object) bool {
	n := now.DeepCopyObject().(object.Object)
	n.SetOwnerReferences(old.GetOwnerReferences())
	n.SetFinalizers(old.GetFinalizers())
	n.SetManagedFields(old.GetManagedFields())
	n.SetResourceVersion(old.GetResourceVersion())
	return equality.Semantic.DeepEqual(n, old)
}

// mayWrite says whether the user may write a role with these rules.
func (s *Start) mayWrite(ctx context.Context, r *Request, resource string, rules []rbac.PolicyRule, aggregated bool) error {
	name := r.Key.Name
	if r.Op == Create {
		name = "" // a new role has no name yet, as far as rights are concerned
	}
	if s.allowed(ctx, r, r.Key.Namespace, "escalate", resource, name) {
		return nil
	}
	if err := s.mayGrant(r, r.Key.Namespace, rules); err != nil {
		return err
	}
	if aggregated && s.mayGrant(r, "", everything) != nil {
		return r.Forbid("must have cluster-admin privileges to use the aggregationRule")
	}
	return nil
}

// mayBind says whether the user may give others the role that a binding in namespace refers to.
func (s *Start) mayBind(ctx context.Context, r *Request, namespace string, ref rbac.RoleRef) error {
	resource := "clusterroles"
	if ref.Kind == "Role" {
		resource = "roles"
	}
	if s.allowed(ctx, r, namespace, "bind", resource, ref.Name) {
		return nil
	}
	var rules []rbac.PolicyRule
	var found bool
	if ref.Kind == "Role" {
		var role *rbac.Role
		if role, found = client.Lookup[rbac.Role](s.view, object.Key{Namespace: namespace, Name: ref.Name}); found {
			rules = role.Rules
		}
	} else {
		var role *rbac.ClusterRole
		if role, found = client.Lookup[rbac.ClusterRole](s.view, object.Key{Name: ref.Name}); found {
			rules = role.Rules
		}
	}
	if !found {
		// The error is about what the request is about, as it is in Kubernetes.
		return apierrors.NewNotFound(schema.GroupResource{Group: rbac.GroupName, Resource: r.Kind.Resource.Resource}, ref.Name)
	}
	return s.mayGrant(r, namespace, rules)
}

// mayGrant says whether the user may do all that rules allow.
func (s *Start) mayGrant(r *Request, namespace string, rules []rbac.PolicyRule) error {
	e, ok := s.deps.Authz.(escalator)
	if !ok {
		return nil
	}
	if err := e.Escalation(r.User, namespace, rules); err != nil {
		return r.Forbid("%v", err)
	}
	return nil
}

func (s *Start) allowed(ctx context.Context, r *Request, namespace, verb, resource, name string) bool {
	d, err := s.deps.Authz.Authorize(ctx, authz.Attributes{User: r.User, Verb: verb, Group: rbac.GroupName, Version: "*", Resource: resource,
		Namespace: namespace, Name: name, ResourceRequest: true})
	return err == nil && d.Allowed
}
