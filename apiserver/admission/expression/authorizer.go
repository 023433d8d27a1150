package expression

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/rules"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/kinds/cel"
)

// asker is an authz.Authorizer as expressions ask it.
type asker struct{ authz.Authorizer }

// Authorize implements authorizer.UnconditionalAuthorizer.
func (a asker) Authorize(ctx context.Context, q authorizer.Attributes) (authorizer.Decision, string, error) {
	d, err := a.Authorizer.Authorize(ctx, authz.Attributes{
		User: userOf(q.GetUser()), Verb: q.GetVerb(), Group: q.GetAPIGroup(), Version: q.GetAPIVersion(), Resource: q.GetResource(),
		Sub: q.GetSubresource(), Namespace: q.GetNamespace(), Name: q.GetName(), Path: q.GetPath(), ResourceRequest: q.IsResourceRequest(),
	})
	if d.Allowed {
		return authorizer.DecisionAllow, d.Reason, err
	}
	return authorizer.DecisionNoOpinion, d.Reason, err
}

func userOf(i user.Info) authn.User {
	return authn.User{Name: i.GetName(), UID: i.GetUID(), Groups: i.GetGroups(), Extra: i.GetExtra()}
}

// resource is what authorizer.requestResource is about.
type resource struct {
	r *admission.Request
	m rules.Match
}

// GetName implements library.Resource, as do the others.
func (s resource) GetName() string                          { return s.r.Name() }
func (s resource) GetNamespace() string                     { return s.r.Namespace() }
func (s resource) GetResource() schema.GroupVersionResource { return s.m.Resource }
func (s resource) GetSubresource() string                   { return s.r.Sub }

// Input is what expressions see of r, as m sees it: all but parameters and the namespace.
func Input(ctx context.Context, r *admission.Request, m rules.Match, z authz.Authorizer) (*cel.Input, error) {
	in := &cel.Input{Request: Request(r, m), Resource: resource{r, m},
		User: &user.DefaultInfo{Name: r.User.Name, UID: r.User.UID, Groups: r.User.Groups, Extra: r.User.Extra}}
	if z != nil {
		in.Authorizer = asker{z}
	}
	now, err := r.Out(ctx, r.Object, m.Kind)
	if err != nil {
		return nil, err
	}
	old, err := r.Out(ctx, r.Old, m.Kind)
	if err != nil {
		return nil, err
	}
	if now != nil {
		in.Object = cel.ValueOf(now)
	}
	if old != nil {
		in.Old = cel.ValueOf(old)
	}
	return in, nil
}
