package rest

import (
	"context"
	"fmt"
	"time"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/apiserver/admission"
	"proa.dev/client"
)

// Issuer makes service account tokens.
type Issuer interface {
	Issue(ctx context.Context, account *core.ServiceAccount, spec authentication.TokenRequestSpec) (token string, expires time.Time, err error)
	Audiences() []string  // of tokens that ask for none
	Limit() time.Duration // of their life; 0: none
}

// Bounds of the life that a token may be asked for.
const (
	minTokenSeconds = 10 * 60
	maxTokenSeconds = 1 << 32
	tokenSeconds    = 3600 // where nothing is asked
)

// token answers serviceaccounts/token.
func (a *API) token(ctx context.Context, s *Served, t client.Target, req *authentication.TokenRequest, r *admission.Request) (Answer, error) {
	gk := authentication.SchemeGroupVersion.WithKind("TokenRequest").GroupKind()
	m := field.NewPath("metadata")
	switch {
	case a.issuer == nil:
		return Answer{}, apierrors.NewMethodNotSupported(s.group(), "create")
	case req.Name != "" && req.Name != t.Name:
		return Answer{}, apierrors.NewInvalid(gk, t.Name, field.ErrorList{field.Invalid(m.Child("name"), req.Name, "must match the service account name if specified")})
	case req.Namespace != "" && req.Namespace != t.Namespace:
		return Answer{}, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	it, err := a.current(ctx, s, t.Key)
	if err != nil {
		return Answer{}, err
	}
	account := it.Object.(*core.ServiceAccount)
	if req.UID != "" && req.UID != account.UID {
		return Answer{}, apierrors.NewConflict(schema.GroupResource{Group: gk.Group, Resource: gk.Kind}, t.Name, fmt.Errorf(
			"the UID in the token request (%s) does not match the UID of the service account (%s)", req.UID, account.UID))
	}
	req.Name, req.Namespace, req.UID = account.Name, account.Namespace, account.UID
	req.CreationTimestamp = metav1.Time{Time: a.now().Truncate(time.Second)}
	req.Status = authentication.TokenRequestStatus{}
	if req.Spec.ExpirationSeconds == nil {
		seconds := int64(tokenSeconds)
		req.Spec.ExpirationSeconds = &seconds
	}
	if len(req.Spec.Audiences) == 0 {
		req.Spec.Audiences = a.issuer.Audiences()
	}
	life := field.NewPath("spec", "expirationSeconds")
	switch n := *req.Spec.ExpirationSeconds; {
	case n < minTokenSeconds:
		return Answer{}, apierrors.NewInvalid(gk, "", field.ErrorList{field.Invalid(life, n, "may not specify a duration less than 10 minutes")})
	case n > maxTokenSeconds:
		return Answer{}, apierrors.NewInvalid(gk, "", field.ErrorList{field.Invalid(life, n, "may not specify a duration larger than 2^32 seconds")})
	}
	if err := a.checkBody(ctx, r, req); err != nil {
		return Answer{}, err
	}
	if most := int64(a.issuer.Limit() / time.Second); most > 0 && *req.Spec.ExpirationSeconds > most {
		Warn(ctx, fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", *req.Spec.ExpirationSeconds, most))
		req.Spec.ExpirationSeconds = &most
	}
	text, expires, err := a.issuer.Issue(ctx, account, req.Spec)
	if err != nil {
		return Answer{}, failure(err)
	}
	req.Status = authentication.TokenRequestStatus{Token: text, ExpirationTimestamp: metav1.NewTime(expires)}
	return Answer{Other: req, Created: true}, nil
}
