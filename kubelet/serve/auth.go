package serve

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"

	"proa.dev/client"
)

// How long an answer of the API server is believed.
const (
	tokenTTL  = 2 * time.Minute
	allowTTL  = 5 * time.Minute
	denyTTL   = 30 * time.Second
	maxCached = 1024
)

// user is who sent a request.
type user struct {
	name, uid string
	groups    []string
	extra     map[string]authorization.ExtraValue
}

// gate lets nobody in but those whom the API server knows and allows.
type gate struct {
	api  client.Client
	node string
	cas  func() *x509.CertPool

	mu     sync.Mutex // guards both maps
	tokens map[string]cached[*user]
	access map[string]cached[verdict]
}

type cached[T any] struct {
	value T
	until time.Time
}

type verdict struct {
	allowed bool
	reason  string
}

func newGate(api client.Client, node string, cas func() *x509.CertPool) *gate {
	return &gate{api: api, node: node, cas: cas, tokens: map[string]cached[*user]{}, access: map[string]cached[verdict]{}}
}

func (g *gate) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, err := g.identify(r)
		if err != nil || u == nil {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		v, err := g.allowed(r, u)
		if err != nil {
			http.Error(w, fmt.Sprintf("Authorization error (user=%s): %v", u.name, err), http.StatusInternalServerError)
			return
		}
		if !v.allowed {
			verb, subs := asks(r)
			http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", u.name, verb, subs), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// identify reads the client certificate, or has the token reviewed. nil means nobody.
func (g *gate) identify(r *http.Request) (*user, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && g.cas != nil {
		certs := r.TLS.PeerCertificates
		between := x509.NewCertPool()
		for _, c := range certs[1:] {
			between.AddCert(c)
		}
		_, err := certs[0].Verify(x509.VerifyOptions{
			Roots: g.cas(), Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err != nil {
			return nil, err
		}
		return &user{name: certs[0].Subject.CommonName, groups: append(certs[0].Subject.Organization, "system:authenticated")}, nil
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return nil, nil
	}
	if u, ok := get(g, g.tokens, token); ok {
		return u, nil
	}
	review, err := client.Create(r.Context(), g.api, &authentication.TokenReview{Spec: authentication.TokenReviewSpec{Token: token}})
	if err != nil {
		return nil, err
	}
	if !review.Status.Authenticated {
		return nil, nil
	}
	u := &user{name: review.Status.User.Username, uid: review.Status.User.UID, groups: review.Status.User.Groups}
	for k, v := range review.Status.User.Extra {
		if u.extra == nil {
			u.extra = map[string]authorization.ExtraValue{}
		}
		u.extra[k] = authorization.ExtraValue(v)
	}
	put(g, g.tokens, token, u, tokenTTL)
	return u, nil
}

// asks is what a request wants of the node: a verb on one of some subresources, the first that is allowed.
func asks(r *http.Request) (verb string, subs []string) {
	verb = map[string]string{
		http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
	}[r.Method]
	if verb == "" {
		verb = "get"
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch first {
	case "stats":
		return verb, []string{"stats"}
	case "metrics":
		return verb, []string{"metrics"}
	case "logs":
		return verb, []string{"log"}
	case "checkpoint", "statusz":
		return verb, []string{first}
	case "flagz":
		return verb, []string{"configz"}
	case "pods", "runningpods":
		return verb, []string{"pods", "proxy"}
	case "healthz", "configz":
		return verb, []string{first, "proxy"}
	}
	return verb, []string{"proxy"}
}

func (g *gate) allowed(r *http.Request, u *user) (verdict, error) {
	verb, subs := asks(r)
	var last verdict
	for _, sub := range subs {
		key := strings.Join(append([]string{u.name, u.uid, verb, sub}, u.groups...), "\x00")
		if v, ok := get(g, g.access, key); ok {
			if last = v; v.allowed {
				return v, nil
			}
			continue
		}
		review, err := client.Create(r.Context(), g.api, &authorization.SubjectAccessReview{Spec: authorization.SubjectAccessReviewSpec{
			User: u.name, UID: u.uid, Groups: u.groups, Extra: u.extra,
			ResourceAttributes: &authorization.ResourceAttributes{
				Verb: verb, Version: "v1", Resource: "nodes", Subresource: sub, Name: g.node,
			},
		}})
		if err != nil {
			return verdict{}, err
		}
		last = verdict{review.Status.Allowed, review.Status.Reason}
		ttl := denyTTL
		if last.allowed {
			ttl = allowTTL
		}
		put(g, g.access, key, last, ttl)
		if last.allowed {
			return last, nil
		}
	}
	return last, nil
}

func get[T any](g *gate, m map[string]cached[T], key string) (value T, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, ok := m[key]
	if !ok || time.Now().After(c.until) {
		return value, false
	}
	return c.value, true
}

func put[T any](g *gate, m map[string]cached[T], key string, value T, ttl time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(m) >= maxCached {
		clear(m)
	}
	m[key] = cached[T]{value, time.Now().Add(ttl)}
}
