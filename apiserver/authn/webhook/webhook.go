package webhook

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authentication "k8s.io/api/authentication/v1"

	"proa.dev/apiserver/authn"
)

// Poster asks the webhook.
type Poster interface {
	Post(ctx context.Context, in, out any) error
}

const (
	limit    = 30 * time.Second // of one question, with all its tries
	maxKnown = 4096
)

// Tokens knows the tokens that a webhook knows. It implements authn.TokenChecker.
type Tokens struct {
	hook      Poster
	audiences []string      // of the API server
	ttl       time.Duration // how long an answer is good

	mu    sync.Mutex // guards known
	known map[[32]byte]answer
}

type answer struct {
	user      authn.User
	audiences []string
	ok        bool
	err       error
	until     time.Time
}

// New makes a checker; ttl 0 is two minutes.
func New(hook Poster, audiences []string, ttl time.Duration) *Tokens {
	if ttl == 0 {
		ttl = 2 * time.Minute
	}
	return &Tokens{hook: hook, audiences: audiences, ttl: ttl, known: map[[32]byte]answer{}}
}

// CheckToken implements authn.TokenChecker. An answer is remembered for a while; that there was none is not.
func (t *Tokens) CheckToken(ctx context.Context, token string, audiences []string) (authn.User, []string, bool, error) {
	id := sha256.Sum256([]byte(token + "\x00" + strings.Join(audiences, "\x00")))
	now := time.Now()
	t.mu.Lock()
	a, ok := t.known[id]
	t.mu.Unlock()
	if ok && now.Before(a.until) {
		return a.user, a.audiences, a.ok, a.err
	}
	q := authentication.TokenReview{Spec: authentication.TokenReviewSpec{Token: token, Audiences: audiences}}
	q.APIVersion, q.Kind = authentication.SchemeGroupVersion.String(), "TokenReview"
	var r authentication.TokenReview
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := t.hook.Post(ctx, q, &r); err != nil {
		return authn.User{}, nil, false, err
	}
	a = t.read(&r, audiences)
	a.until = now.Add(t.ttl)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= maxKnown {
		clear(t.known)
	}
	t.known[id] = a
	return a.user, a.audiences, a.ok, a.err
}

// read is what a review says. A webhook that knows nothing of audiences speaks for the API server's only.
func (t *Tokens) read(r *authentication.TokenReview, audiences []string) (a answer) {
	if !r.Status.Authenticated {
		if r.Status.Error != "" {
			a.err = errors.New(r.Status.Error)
		}
		return a
	}
	said := r.Status.Audiences
	if len(said) == 0 {
		said = t.audiences
	}
	for _, x := range audiences {
		if slices.Contains(said, x) {
			a.audiences = append(a.audiences, x)
		}
	}
	if len(a.audiences) == 0 {
		a.err = fmt.Errorf("the token is for %q, not for %q", said, audiences)
		return a
	}
	a.ok = true
	a.user = authn.User{Name: r.Status.User.Username, UID: r.Status.User.UID, Groups: r.Status.User.Groups}
	for k, v := range r.Status.User.Extra {
		if a.user.Extra == nil {
			a.user.Extra = map[string][]string{}
		}
		a.user.Extra[k] = v
	}
	return a
}
