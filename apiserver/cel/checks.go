package cel

import (
	"context"

	"k8s.io/apiserver/pkg/authorization/authorizer"

	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
)

// checks answers what expressions ask of the authorizer, each question once.
type checks struct {
	by    authz.Authorizer
	known map[question]answer
}

// question is what is asked, by which user: expressions may ask for a service account.
type question struct {
	user, verb, group, version, resource, sub, namespace, name, path string
	ofResource                                                       bool
}

type answer struct {
	authz.Decision
	err error
}

// Authorize implements authorizer.UnconditionalAuthorizer.
func (c *checks) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	u := a.GetUser()
	q := question{user: u.GetName(), verb: a.GetVerb(), group: a.GetAPIGroup(), version: a.GetAPIVersion(), resource: a.GetResource(),
		sub: a.GetSubresource(), namespace: a.GetNamespace(), name: a.GetName(), path: a.GetPath(), ofResource: a.IsResourceRequest()}
	found, ok := c.known[q]
	if !ok {
		found.Decision, found.err = c.by.Authorize(ctx, authz.Attributes{
			User: authn.User{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra()},
			Verb: q.verb, Group: q.group, Version: q.version, Resource: q.resource, Sub: q.sub,
			Namespace: q.namespace, Name: q.name, Path: q.path, ResourceRequest: q.ofResource})
		if c.known == nil {
			c.known = map[question]answer{}
		}
		c.known[q] = found
	}
	if found.Allowed {
		return authorizer.DecisionAllow, found.Reason, found.err
	}
	return authorizer.DecisionNoOpinion, found.Reason, found.err
}
