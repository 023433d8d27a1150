package authn

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// TokenChecker knows tokens of one kind.
type TokenChecker interface {
	// CheckToken says whose token it is, and for which of audiences (never empty) it is good. false: it is none of its tokens. An
	// error: it looks like one, and something is wrong with it.
	CheckToken(ctx context.Context, token string, audiences []string) (User, []string, bool, error)
}

// Bearer authenticates by the token in the header "Authorization: Bearer" (RFC 6750), or in the subprotocol of a WebSocket: the first
// of Checkers that knows it decides.
type Bearer struct {
	Checkers  []TokenChecker
	Audiences []string // of the API server
}

var errInvalidToken = errors.New("invalid bearer token")

// Authenticate implements Authenticator. It takes the credential off the request, lest it be forwarded.
func (b *Bearer) Authenticate(r *http.Request) (User, bool, error) {
	token, ok := bearer(r)
	if !ok {
		return User{}, false, nil
	}
	u, _, err := b.Review(r.Context(), token, nil)
	if err != nil {
		return User{}, false, err
	}
	r.Header.Del("Authorization")
	return u, true, nil
}

// Review says whose token it is and for which of audiences, or those of the API server where there are none. An error is for whoever
// asks to read.
func (b *Bearer) Review(ctx context.Context, token string, audiences []string) (User, []string, error) {
	if len(audiences) == 0 {
		audiences = b.Audiences
	}
	var errs []error
	for _, c := range b.Checkers {
		u, match, ok, err := c.CheckToken(ctx, token, audiences)
		if err != nil {
			errs = append(errs, err)
		} else if ok {
			return withAuthenticated(u), match, nil
		}
	}
	return User{}, nil, list(append([]error{errInvalidToken}, errs...))
}

// list is errors as Kubernetes lists them: one as it is, several in brackets.
func list(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return errors.New("[" + strings.Join(texts, ", ") + "]")
}

// wsBearer is the subprotocol by which browsers, who cannot set headers on WebSockets, send a token.
const wsBearer = "base64url.bearer.authorization.k8s.io."

func bearer(r *http.Request) (string, bool) {
	if scheme, token, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "Bearer") {
		token, _, _ = strings.Cut(token, " ")
		return token, token != "" // a second space makes it none
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return "", false
	}
	for _, list := range r.Header.Values("Sec-Websocket-Protocol") {
		for _, p := range strings.Split(list, ",") {
			if enc, ok := strings.CutPrefix(strings.TrimSpace(p), wsBearer); ok {
				token, err := base64.RawURLEncoding.DecodeString(enc)
				return string(token), err == nil && len(token) > 0
			}
		}
	}
	return "", false
}

func intersect(a, b []string) (both []string) {
	for _, s := range a {
		if slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}
