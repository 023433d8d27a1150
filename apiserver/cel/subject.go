package cel

import (
	"context"
	"maps"

	"github.com/google/cel-go/common/types/ref"
	reviews "k8s.io/api/admission/v1"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/rules"
	"proa.dev/apiserver/authz"
	"proa.dev/kinds/cel"
)

// Subject is a request as expressions see it, in the version of a rule that matches it. It is for one goroutine.
type Subject struct {
	Object, Old runtime.Object // nil: there is none

	request *reviews.AdmissionRequest
	sub     string
	user    *user.DefaultInfo
	checks  checks

	object, old ref.Val // made when first asked for
}

// NewSubject is r as a rule sees it. Checks of the authorizer are answered by z.
func NewSubject(ctx context.Context, r *admission.Request, m rules.Match, z authz.Authorizer) (*Subject, error) {
	s := &Subject{sub: r.Sub, checks: checks{by: z},
		user: &user.DefaultInfo{Name: r.User.Name, UID: r.User.UID, Groups: r.User.Groups, Extra: r.User.Extra}}
	var err error
	if s.Object, err = r.Out(ctx, r.Object, m.Kind); err != nil {
		return nil, err
	}
	if s.Old, err = r.Out(ctx, r.Old, m.Kind); err != nil {
		return nil, err
	}
	s.request = RequestOf(r, m)
	return s, nil
}

// RequestOf is r as m sees it, without a uid and without its objects.
func RequestOf(r *admission.Request, m rules.Match) *reviews.AdmissionRequest {
	extra := make(map[string]authentication.ExtraValue, len(r.User.Extra))
	for k, v := range maps.All(r.User.Extra) {
		extra[k] = v
	}
	kind, resource, dry := metav1.GroupVersionKind(r.Body), metav1.GroupVersionResource(r.Served.GroupVersionResource), r.DryRun
	return &reviews.AdmissionRequest{
		Kind: metav1.GroupVersionKind(m.Kind), Resource: metav1.GroupVersionResource(m.Resource), SubResource: r.Sub,
		RequestKind: &kind, RequestResource: &resource, RequestSubResource: r.Sub,
		Name: r.Name(), Namespace: r.Namespace(), Operation: reviews.Operation(r.Op),
		UserInfo: authentication.UserInfo{Username: r.User.Name, UID: r.User.UID, Groups: r.User.Groups, Extra: extra},
		DryRun:   &dry, Options: runtime.RawExtension{Object: r.Options},
	}
}

// Input is the values of the variables. params is null where it is nil, and so is namespace.
func (s *Subject) Input(params ref.Val, namespace *core.Namespace) *cel.Input {
	if s.object == nil && s.Object != nil {
		s.object = cel.ValueOf(s.Object)
	}
	if s.old == nil && s.Old != nil {
		s.old = cel.ValueOf(s.Old)
	}
	return s.input(s.object, s.old, params, namespace)
}

// PlainInput is Input for expressions that make objects, of which parts of these may become parts.
func (s *Subject) PlainInput(params ref.Val, namespace *core.Namespace) (*cel.Input, error) {
	var made [2]ref.Val
	for i, o := range []runtime.Object{s.Object, s.Old} {
		if o == nil {
			continue
		}
		var err error
		if made[i], err = cel.PlainValueOf(o); err != nil {
			return nil, err
		}
	}
	return s.input(made[0], made[1], params, namespace), nil
}

func (s *Subject) input(object, old, params ref.Val, namespace *core.Namespace) *cel.Input {
	return &cel.Input{Object: object, Old: old, Params: params, Request: s.request, Namespace: namespace, Authorizer: &s.checks, User: s.user, Resource: s}
}

// GetName and the rest of library.Resource say what authorizer.requestResource is about.
func (s *Subject) GetName() string { return s.request.Name }

// GetNamespace implements library.Resource.
func (s *Subject) GetNamespace() string { return s.request.Namespace }

// GetResource implements library.Resource: what was asked for, not what matched.
func (s *Subject) GetResource() schema.GroupVersionResource {
	return schema.GroupVersionResource(*s.request.RequestResource)
}

// GetSubresource implements library.Resource.
func (s *Subject) GetSubresource() string { return s.sub }
