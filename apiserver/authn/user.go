package authn

import (
	"context"
	"net/http"
)

// User is who makes a request.
type User struct {
	Name, UID string
	Groups    []string
	Extra     map[string][]string
	Warning   string // for whoever uses this credential; "" is none
}

// Authenticator finds out who makes a request. false: the request carries nothing that this authenticator knows. An error: it carries
// something that is wrong.
type Authenticator interface {
	Authenticate(*http.Request) (User, bool, error)
}

type userKey struct{}

// With is ctx with the user who makes the request.
func With(ctx context.Context, u User) context.Context { return context.WithValue(ctx, userKey{}, u) }

// From is the user who makes the request.
func From(ctx context.Context) (User, bool) {
	u, ok := ctx.Value(userKey{}).(User)
	return u, ok
}
