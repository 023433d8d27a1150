package rest

import (
	"context"

	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/authn"
	"proa.dev/client"
	"proa.dev/object"
)

// review answers the kinds that are never stored.
func (a *API) review(ctx context.Context, s *Served, t client.Target, o object.Object, opt metav1.CreateOptions) (Answer, error) {
	if s.Namespaced {
		if err := matchNamespace(s, t.Namespace, o); err != nil {
			return Answer{}, err
		}
	}
	o.GetObjectKind().SetGroupVersionKind(s.GVK())
	if _, ok := o.(*core.Binding); !ok {
		a.tracked(ctx, s, "", nil, o, opt.FieldManager)
	}
	q := createWith(a.request(ctx, s, admission.Create, ""), opt)
	q.Key, q.Object = object.KeyOf(o), o
	if err := a.admission.Admit(ctx, q); err != nil {
		return Answer{}, failure(err)
	}
	o = q.Object
	if b, ok := o.(*core.Binding); ok { // which has its own checks
		if err := checkTarget(b); err != nil {
			return Answer{}, err
		}
		if b.Name == "" {
			return Answer{}, apierrors.NewBadRequest("Name parameter required.")
		}
		b.UID = "" // no precondition in this place
		pods := a.Find(object.ResourceOf[core.Pod]())
		return a.bind(ctx, pods, client.Target{Resource: pods.GroupVersionResource, Key: object.Key{Namespace: t.Namespace, Name: b.Name}, Sub: "binding"}, b, q)
	}
	if errs := s.Kind.Validate(o); len(errs) > 0 {
		// Kubernetes does not name the kind of a review here.
		return Answer{}, apierrors.NewInvalid(schema.GroupKind{Group: s.Group}, "", errs)
	}
	if err := complete(o); err != nil {
		return Answer{}, err
	}
	if err := a.admission.Check(ctx, q); err != nil {
		return Answer{}, failure(err)
	}
	return a.answer(ctx, o, s)
}

// complete says what is missing in a review that validation does not look at.
func complete(o object.Object) error {
	switch r := o.(type) {
	case *authentication.TokenReview:
		if r.Spec.Token == "" {
			return apierrors.NewBadRequest("token is required for TokenReview in authentication")
		}
	case *authorization.SelfSubjectRulesReview:
		if r.Spec.Namespace == "" {
			return apierrors.NewBadRequest("no namespace on request")
		}
	}
	return nil
}

// answer fills in what a review asks.
func (a *API) answer(ctx context.Context, o object.Object, s *Served) (Answer, error) {
	user, _ := authn.From(ctx)
	switch r := o.(type) {
	case *authorization.SelfSubjectAccessReview:
		r.Status = a.access(ctx, user, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	case *authorization.SubjectAccessReview:
		r.Status = a.subjectAccess(ctx, r.Spec)
	case *authorization.LocalSubjectAccessReview:
		r.Status = a.subjectAccess(ctx, r.Spec)
	case *authorization.SelfSubjectRulesReview:
		o = a.rules(user, r.Spec.Namespace)
	case *authentication.SelfSubjectReview:
		now := metav1.Time{Time: a.now().Truncate(1e9)}
		o = &authentication.SelfSubjectReview{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: now},
			Status: authentication.SelfSubjectReviewStatus{UserInfo: userInfo(user)}}
	case *authentication.TokenReview:
		a.tokenReview(ctx, r)
	default:
		return Answer{}, apierrors.NewMethodNotSupported(s.group(), "create")
	}
	o.GetObjectKind().SetGroupVersionKind(s.GVK())
	return Answer{Other: o, Created: true}, nil
}

// tokenReview says whose token it is.
func (a *API) tokenReview(ctx context.Context, r *authentication.TokenReview) {
	reviewer, ok := a.authn.(authn.Reviewer)
	if !ok {
		return
	}
	user, audiences, err := reviewer.Review(ctx, r.Spec.Token, r.Spec.Audiences)
	if err != nil {
		r.Status.Authenticated, r.Status.Error = false, err.Error()
		return
	}
	r.Status.Authenticated, r.Status.User, r.Status.Audiences = true, userInfo(user), audiences
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
