package apiserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/uuid"

	"proa.dev/apiserver/audit"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/apiserver/rest"
)

// chain is the stages of a request, from the outside in.
func (s *Server) chain(routes http.Handler) http.Handler {
	h := routes
	h = s.authorise(h)
	h = s.share(h)
	h = s.impersonate(h)
	h = s.audit(h)
	h = s.authenticate(h)
	h = s.inTime(h)
	h = s.recoverPanics(h)
	h = s.count(h)
	h = s.identify(h)
	return h
}

// identify finds out what the request is about and puts that into its context.
func (s *Server) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := identify(r, s.rest.Find)
		if q.id = r.Header.Get("Audit-Id"); q.id == "" {
			q.id = string(uuid.NewUUID())
		}
		h := w.Header()
		h.Set("Audit-Id", q.id)
		h.Set("Cache-Control", "no-cache, private")
		if s.deps.Goaway > 0 && r.ProtoMajor == 2 && rand.Float64() < s.deps.Goaway {
			h.Set("Connection", "close") // which HTTP/2 makes a GOAWAY
		}
		ctx := context.WithValue(r.Context(), requestKey{}, q)
		ctx = rest.WithManager(ctx, managerOf(r.UserAgent()))
		if q.allowed, q.untimely = q.allotted(); q.allowed != 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, q.began.Add(q.allowed))
			defer cancel()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// managerOf is the field manager of a client that names none: what stands before the slash in its User-Agent.
func managerOf(agent string) string {
	name, _, _ := strings.Cut(agent, "/")
	if len(name) <= validation.FieldManagerMaxLength && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		return name // as nearly all are
	}
	var out strings.Builder
	for _, r := range name {
		if !unicode.IsPrint(r) {
			continue
		}
		if out.Len()+utf8.RuneLen(r) > validation.FieldManagerMaxLength {
			break
		}
		out.WriteRune(r)
	}
	return out.String()
}

// count measures the request.
func (s *Server) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := requestOf(r.Context())
		counted := s.metrics.of(q, r)
		if q.long() {
			counted.long.Add(1)
			defer counted.long.Add(-1)
		}
		a := &answered{ResponseWriter: w, q: q, ends: r.Context()}
		q.out = a
		defer func() { s.metrics.done(q, counted, time.Since(q.began), a.bytes) }()
		next.ServeHTTP(a, r)
		if a.q.code == 0 && a.over() { // nobody has said anything
			a.timeout()
		}
	})
}

// recoverPanics answers 500 where a stage or verb panics, and logs where.
func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			s.log.Error("panic while answering", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.metrics.panics.Add(1)
			if requestOf(r.Context()).code == 0 {
				//lint:ignore ST1005 Kubernetes' own words
				s.fail(w, r, apierrors.NewInternalError(fmt.Errorf("This request caused apiserver to panic. Look in the logs for details.")))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// authenticate finds out who asks: 401 if nobody knows.
func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, ok, err := s.authn.Authenticate(r)
		if err != nil || !ok {
			if err != nil {
				s.log.Debug("authentication", "path", r.URL.Path, "from", r.RemoteAddr, "err", err)
			}
			s.unknownUser(r)
			s.fail(w, r, authn.Unauthorized())
			return
		}
		r.Header.Del("Authorization") // nobody further in needs the secret
		requestOf(r.Context()).user = user
		if user.Warning != "" {
			w.Header().Add("Warning", "299 - "+strconv.Quote(user.Warning))
		}
		next.ServeHTTP(w, r.WithContext(authn.With(r.Context(), user)))
	})
}

// impersonate lets those who may act as somebody else do so.
func (s *Server) impersonate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !impersonates(r.Header) {
			next.ServeHTTP(w, r)
			return
		}
		q := requestOf(r.Context())
		as, err := authz.Impersonate(r.Context(), r.Header, q.attributes(r.URL.Path), s.authz)
		if err != nil {
			w.Header().Set("X-Content-Type-Options", "nosniff")
			s.fail(w, r, err)
			return
		}
		actual := q.user
		q.actual, q.user = &actual, as
		audit.Of(r.Context()).Impersonated(audit.UserOf(as))
		next.ServeHTTP(w, r.WithContext(authn.With(r.Context(), as)))
	})
}

func impersonates(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, "Impersonate-") {
			return true
		}
	}
	return false
}

// authorise asks whether the user may do it: 403 if not.
func (s *Server) authorise(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := requestOf(r.Context())
		a := q.attributes(r.URL.Path)
		if err := s.allow(r.Context(), a); err != nil {
			w.Header().Set("X-Content-Type-Options", "nosniff") // as Kubernetes says with what it does not let through
			s.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allow is nil if the authoriser allows it.
func (s *Server) allow(ctx context.Context, a authz.Attributes) error {
	d, err := s.authz.Authorize(ctx, a)
	if s.deps.Audit != nil {
		decision := "forbid"
		if d.Allowed {
			decision = "allow"
		}
		audit.Annotate(ctx, "authorization.k8s.io/decision", decision)
		audit.Annotate(ctx, "authorization.k8s.io/reason", d.Reason)
	}
	if d.Allowed {
		return nil
	}
	if err != nil {
		s.log.Debug("authorisation", "user", a.User.Name, "verb", a.Verb, "resource", a.Resource, "err", err)
	}
	return authz.Forbidden(a, d.Reason)
}

// apiStatus is the Status of an error of the API.
func apiStatus(err error) (st metav1.Status, ok bool) {
	var e apierrors.APIStatus
	if errors.As(err, &e) {
		return e.Status(), true
	}
	return st, false
}
