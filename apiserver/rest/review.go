package rest

import (
	"context"
	"net/http"

	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/client"
	"proa.dev/object"
)

// Ruler says what a user may do in a namespace: what SelfSubjectRulesReview asks. Authorizers may implement it.
type Ruler interface {
	RulesFor(user authn.User, namespace string) []rbac.PolicyRule
}

// review answers the kinds that are never stored.
func (a *API) review(ctx context.Context, s *Served, t client.Target, o object.Object, opt metav1.CreateOptions) (Answer, error) {
	if s.Namespaced {
		if err := matchNamespace(s, t.Namespace, o); err != nil {
			return Answer{}, err
		}
	}
	o.GetObjectKind().SetGroupVersionKind(s.GVK())
	q := createWith(a.request(ctx, s, admission.Create, ""), opt)
	q.Key, q.Object = object.KeyOf(o), o
	if err := a.admission.Admit(ctx, q); err != nil {
		return Answer{}, failure(err)
	}
	o = q.Object
	if errs := s.Kind.Validate(o); len(errs) > 0 {
		return Answer{}, apierrors.NewInvalid(s.Kind.GVK().GroupKind(), "", errs)
	}
	if _, bind := o.(*core.Binding); !bind { // which bind does
		if err := a.admission.Check(ctx, q); err != nil {
			return Answer{}, failure(err)
		}
	}
	user, _ := authn.From(ctx)
	var err error
	switch r := o.(type) {
	case *core.Binding:
		pods := a.Find(object.ResourceOf[core.Pod]())
		return a.bind(ctx, pods, client.Target{Resource: pods.GroupVersionResource, Key: object.Key{Namespace: t.Namespace, Name: r.Name}, Sub: "binding"}, r, q)
	case *authorization.SelfSubjectAccessReview:
		r.Status, err = a.access(ctx, "SelfSubjectAccessReview", user, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	case *authorization.SubjectAccessReview:
		r.Status, err = a.subjectAccess(ctx, "SubjectAccessReview", r.Spec)
	case *authorization.LocalSubjectAccessReview:
		if ra := r.Spec.ResourceAttributes; ra == nil || ra.Namespace != r.Namespace {
			return Answer{}, apierrors.NewBadRequest("spec.resourceAttributes.namespace must match namespace: " + r.Namespace)
		}
		r.Status, err = a.subjectAccess(ctx, "LocalSubjectAccessReview", r.Spec)
	case *authorization.SelfSubjectRulesReview:
		r.Status, err = a.rules(user, r.Spec.Namespace)
	case *authentication.SelfSubjectReview:
		r.CreationTimestamp = metav1.Time{Time: a.now()}
		r.Status.UserInfo = userInfo(user)
	case *authentication.TokenReview:
		err = a.tokenReview(ctx, r)
	default:
		err = apierrors.NewMethodNotSupported(s.group(), "create")
	}
	return Answer{Other: o, Created: true}, err
}

func (a *API) subjectAccess(ctx context.Context, kind string, spec authorization.SubjectAccessReviewSpec) (authorization.SubjectAccessReviewStatus, error) {
	if spec.User == "" && len(spec.Groups) == 0 {
		return authorization.SubjectAccessReviewStatus{}, apierrors.NewInvalid(authorization.SchemeGroupVersion.WithKind(kind).GroupKind(), "",
			field.ErrorList{field.Invalid(field.NewPath("spec.user"), spec.User, "at least one of user or group must be specified")})
	}
	user := authn.User{Name: spec.User, UID: spec.UID, Groups: spec.Groups, Extra: map[string][]string{}}
	for k, v := range spec.Extra {
		user.Extra[k] = v
	}
	return a.access(ctx, kind, user, spec.ResourceAttributes, spec.NonResourceAttributes)
}

// access asks the authoriser.
func (a *API) access(ctx context.Context, kind string, user authn.User, res *authorization.ResourceAttributes, path *authorization.NonResourceAttributes) (st authorization.SubjectAccessReviewStatus, err error) {
	gk := authorization.SchemeGroupVersion.WithKind(kind).GroupKind()
	at := field.NewPath("spec.resourceAttributes")
	if res == nil && path == nil {
		return st, apierrors.NewInvalid(gk, "", field.ErrorList{field.Invalid(at, nil, "exactly one of nonResourceAttributes or resourceAttributes must be specified")})
	}
	if res != nil && path != nil {
		return st, apierrors.NewInvalid(gk, "", field.ErrorList{field.Invalid(field.NewPath("spec.nonResourceAttributes"), path, "cannot be specified in combination with resourceAttributes")})
	}
	q := authz.Attributes{User: user}
	if res != nil {
		q.ResourceRequest = true
		q.Verb, q.Group, q.Version, q.Resource, q.Sub = res.Verb, res.Group, res.Version, res.Resource, res.Subresource
		q.Namespace, q.Name = res.Namespace, res.Name
	} else {
		q.Verb, q.Path = path.Verb, path.Path
	}
	d, err := a.authz.Authorize(ctx, q)
	st = authorization.SubjectAccessReviewStatus{Allowed: d.Allowed, Reason: d.Reason}
	if err != nil {
		st.EvaluationError = err.Error()
	}
	return st, nil
}

func (a *API) rules(user authn.User, namespace string) (st authorization.SubjectRulesReviewStatus, err error) {
	if namespace == "" {
		return st, apierrors.NewBadRequest("no namespace on request")
	}
	r, ok := a.authz.(Ruler)
	if !ok {
		st.Incomplete, st.EvaluationError = true, "the authorizer does not list rules"
		return st, nil
	}
	st.ResourceRules, st.NonResourceRules = []authorization.ResourceRule{}, []authorization.NonResourceRule{}
	for _, rule := range r.RulesFor(user, namespace) {
		if len(rule.Resources) > 0 {
			st.ResourceRules = append(st.ResourceRules, authorization.ResourceRule{Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
		}
		if len(rule.NonResourceURLs) > 0 {
			st.NonResourceRules = append(st.NonResourceRules, authorization.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	return st, nil
}

// tokenReview says whose token it is.
func (a *API) tokenReview(ctx context.Context, r *authentication.TokenReview) error {
	if r.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	r.Status = authentication.TokenReviewStatus{}
	if a.authn == nil {
		r.Status.Error = "no token authentication is configured"
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return failure(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.Spec.Token)
	user, ok, err := a.authn.Authenticate(req)
	if err != nil {
		r.Status.Error = err.Error()
		return nil
	}
	if ok && user.Name != authn.Anonymous {
		r.Status.Authenticated = true
		r.Status.User = userInfo(user)
		r.Status.Audiences = r.Spec.Audiences
	}
	return nil
}

func userInfo(u authn.User) authentication.UserInfo {
	info := authentication.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	for k, v := range u.Extra {
		if info.Extra == nil {
			info.Extra = map[string]authentication.ExtraValue{}
		}
		info.Extra[k] = v
	}
	return info
}
