package authn

import (
	"context"
	"net/http"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Names and groups that the API gives a meaning to.
const (
	Anonymous       = "system:anonymous"
	Authenticated   = "system:authenticated"
	Unauthenticated = "system:unauthenticated"
	Masters         = "system:masters"
	AccountPrefix   = "system:serviceaccount:"
	AccountsGroup   = "system:serviceaccounts"
	NodePrefix      = "system:node:"
	NodesGroup      = "system:nodes"
	AgentsGroup     = "proa:agents" // proa's own agents of nodes, which are more than kubelets

	CredentialKey = "authentication.kubernetes.io/credential-id"
	podNameKey    = "authentication.kubernetes.io/pod-name"
	podUIDKey     = "authentication.kubernetes.io/pod-uid"
	nodeNameKey   = "authentication.kubernetes.io/node-name"
	nodeUIDKey    = "authentication.kubernetes.io/node-uid"
)

// Unauthorized is the 401 for a request whose credentials are missing or wrong. It tells an attacker nothing more.
func Unauthorized() *apierrors.StatusError { return apierrors.NewUnauthorized("Unauthorized") }

// Chain asks one authenticator after the other. The first that knows the user decides; where none does and one found something
// wrong, that is the answer. Who has proved to be somebody is also in the group system:authenticated.
type Chain []Authenticator

// Authenticate implements Authenticator.
func (c Chain) Authenticate(r *http.Request) (User, bool, error) {
	var errs []error
	for _, a := range c {
		u, ok, err := a.Authenticate(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if ok {
			return withAuthenticated(u), true, nil
		}
	}
	if len(errs) > 0 {
		return User{}, false, list(errs)
	}
	return User{}, false, nil
}

// Reviewer says whose token it is, and for which of audiences; those of the API server where there are none.
type Reviewer interface {
	Review(ctx context.Context, token string, audiences []string) (User, []string, error)
}

// Review implements Reviewer by the one in the chain.
func (c Chain) Review(ctx context.Context, token string, audiences []string) (User, []string, error) {
	for _, a := range c {
		if r, ok := a.(Reviewer); ok {
			return r.Review(ctx, token, audiences)
		}
	}
	return User{}, nil, errInvalidToken
}

func withAuthenticated(u User) User {
	if u.Name == Anonymous || slices.Contains(u.Groups, Authenticated) || slices.Contains(u.Groups, Unauthenticated) {
		return u
	}
	u.Groups = append(slices.Clip(u.Groups), Authenticated)
	return u
}

// WithAnonymous lets requests without any credentials through as system:anonymous, where May allows it for their path; nil: everywhere. A
// wrong credential stays an error.
type WithAnonymous struct {
	Next Authenticator
	May  func(path string) bool
}

// Authenticate implements Authenticator.
func (a WithAnonymous) Authenticate(r *http.Request) (User, bool, error) {
	u, ok, err := a.Next.Authenticate(r)
	if ok || err != nil {
		return u, ok, err
	}
	if a.May != nil && !a.May(r.URL.Path) {
		return User{}, false, nil
	}
	return User{Name: Anonymous, Groups: []string{Unauthenticated}}, true, nil
}

// Review implements Reviewer: a token is never anonymous.
func (a WithAnonymous) Review(ctx context.Context, token string, audiences []string) (User, []string, error) {
	if r, ok := a.Next.(Reviewer); ok {
		return r.Review(ctx, token, audiences)
	}
	return User{}, nil, errInvalidToken
}
