package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/authn"
)

// Attributes are what a request is judged by.
type Attributes struct {
	User                                authn.User
	Verb, Group, Version, Resource, Sub string
	Namespace, Name                     string
	Path                                string // for requests that are not about a resource
	ResourceRequest                     bool
	// Fields and Labels are what a list, watch or deletecollection is limited to. Who reads them must not take their absence for a limit.
	Fields fields.Requirements
	Labels labels.Requirements
}

// Decision is the answer, and why.
type Decision struct {
	Allowed bool
	Denied  bool // nobody else is to be asked
	Reason  string
}

// Authorizer says whether a request is allowed.
type Authorizer interface {
	Authorize(ctx context.Context, a Attributes) (Decision, error)
}

// Privileged allows the members of system:masters everything.
type Privileged struct{}

// Authorize implements Authorizer.
func (Privileged) Authorize(_ context.Context, a Attributes) (Decision, error) {
	return Decision{Allowed: slices.Contains(a.User.Groups, authn.Masters)}, nil
}

// Union allows what one of several authorizers allows.
type Union []Authorizer

// Authorize implements Authorizer. The reasons of a denial are those of all, each behind the name of
// who has it.
func (u Union) Authorize(ctx context.Context, a Attributes) (Decision, error) {
	var reasons []string
	var errs []error
	for _, z := range u {
		d, err := z.Authorize(ctx, a)
		if err != nil {
			errs = append(errs, err)
		}
		if d.Allowed || d.Denied {
			return d, errors.Join(errs...)
		}
		if d.Reason != "" {
			if n, ok := z.(interface{ Name() string }); ok {
				d.Reason = n.Name() + ": " + d.Reason
			}
			reasons = append(reasons, d.Reason)
		}
	}
	return Decision{Reason: strings.Join(reasons, "\n")}, errors.Join(errs...)
}

// RulesFor is what those of the authorizers that know rules let user do in namespace. The error names what is missing.
func (u Union) RulesFor(user authn.User, namespace string) ([]rbac.PolicyRule, error) {
	var all []rbac.PolicyRule
	var errs []error
	for _, z := range u {
		if r, ok := z.(interface {
			RulesFor(authn.User, string) ([]rbac.PolicyRule, error)
		}); ok {
			rules, err := r.RulesFor(user, namespace)
			all = append(all, rules...)
			if err != nil {
				errs = append(errs, err)
			}
		}
	}
	if len(errs) > 0 {
		return all, errors.New(joined(errs))
	}
	return all, nil
}

// Escalation is that of the first authorizer that checks for it; see RBAC.Escalation.
func (u Union) Escalation(user authn.User, namespace string, rules []rbac.PolicyRule) error {
	for _, z := range u {
		if e, ok := z.(*RBAC); ok {
			return e.Escalation(user, namespace, rules)
		}
	}
	return nil
}

// escapes keeps an error message from being read as HTML.
var escapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// Forbidden is the 403 for a request that was denied, worded as Kubernetes does:
//
//	pods "x" is forbidden: User "bob" cannot get resource "pods" in API group "" in the namespace "default"
func Forbidden(a Attributes, reason string) *apierrors.StatusError {
	msg := escapes.Replace(describe(a))
	if reason != "" {
		msg += ": " + reason
	}
	gr := schema.GroupResource{Group: a.Group, Resource: a.Resource}
	return apierrors.NewForbidden(gr, a.Name, errors.New(msg))
}

func describe(a Attributes) string {
	if !a.ResourceRequest {
		return fmt.Sprintf("User %q cannot %s path %q", a.User.Name, a.Verb, a.Path)
	}
	where := "at the cluster scope"
	if a.Namespace != "" {
		where = fmt.Sprintf("in the namespace %q", a.Namespace)
	}
	return fmt.Sprintf("User %q cannot %s resource %q in API group %q %s", a.User.Name, a.Verb, a.resource(), a.Group, where)
}

// resource is "pods" or, with a subresource, "pods/log".
func (a *Attributes) resource() string {
	if a.Sub == "" {
		return a.Resource
	}
	return a.Resource + "/" + a.Sub
}
