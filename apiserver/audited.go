package apiserver

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/yaml"

	"proa.dev/apiserver/audit"
	"proa.dev/apiserver/authz"
	"proa.dev/apiserver/codec"
	"proa.dev/apiserver/local"
	"proa.dev/apiserver/rest"
	"proa.dev/object"
)

// audit writes the request down at every stage that the policy wants, if there is an audit log.
func (s *Server) audit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.deps.Audit == nil {
			next.ServeHTTP(w, r)
			return
		}
		q := requestOf(r.Context())
		ctx, record := s.record(r, q, true)
		if record == nil {
			next.ServeHTTP(w, r)
			return
		}
		if err := record.Stage(audit.RequestReceived); err != nil {
			s.fail(w, r, apierrors.NewInternalError(fmt.Errorf("failed to store audit event")))
			return
		}
		if q.long() {
			w = &starting{ResponseWriter: w, record: record}
		}
		defer func() {
			p := recover()
			if p != nil {
				record.Status(metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError,
					Message: fmt.Sprintf("APIServer panic'd: %v", p)})
				_ = record.Stage(audit.Panic) // only the first stage of a request can refuse it
				panic(p)
			}
			if q.code == 0 {
				record.Status(metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusOK, Message: "Connection closed early"})
				if q.long() {
					_ = record.Stage(audit.ResponseStarted)
				}
			}
			record.Status(metav1.Status{Code: int32(q.code)})
			_ = record.Stage(audit.ResponseComplete)
		}()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// starting is a ResponseWriter that writes down when a long answer begins.
type starting struct {
	http.ResponseWriter
	record *audit.Record
	begun  bool
}

func (w *starting) begin(code int) {
	if w.begun {
		return
	}
	w.begun = true
	w.record.Status(metav1.Status{Code: int32(code)})
	_ = w.record.Stage(audit.ResponseStarted) // only the first stage of a request can refuse it
}

func (w *starting) WriteHeader(code int) {
	w.begin(code)
	w.ResponseWriter.WriteHeader(code)
}

func (w *starting) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Hijack implements http.Hijacker.
func (w *starting) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begin(http.StatusSwitchingProtocols)
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap lets http.ResponseController reach what is below.
func (w *starting) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// record begins the record of a request; nil if it is not written down. known says that its user is.
func (s *Server) record(r *http.Request, q *request, known bool) (context.Context, *audit.Record) {
	a := audit.Attributes{User: q.user, Known: known, Verb: q.verb, Resource: q.resource, Path: r.URL.Path}
	e := audit.Event{AuditID: q.id, RequestURI: r.URL.RequestURI(), Verb: q.verb, UserAgent: audit.Agent(r.UserAgent()),
		SourceIPs: sources(r), Received: audit.Time(q.began)}
	if known {
		e.User = audit.UserOf(q.user)
	}
	if q.resource {
		at := q.attributes(r.URL.Path)
		a.Object = audit.Object{Resource: at.Resource, Namespace: at.Namespace, Name: at.Name, APIGroup: at.Group, APIVersion: at.Version, Subresource: at.Sub}
		o := a.Object
		e.Object = &o
	}
	return s.deps.Audit.Begin(r.Context(), &a, &e)
}

// sources are the addresses that a request came over, the first one first. All but the last are only what somebody says.
func sources(r *http.Request) []string {
	var out []string
	for _, one := range strings.Split(r.Header.Get("X-Forwarded-For"), ",") {
		if ip := net.ParseIP(strings.TrimSpace(one)); ip != nil {
			out = append(out, ip.String())
		}
	}
	if ip := net.ParseIP(r.Header.Get("X-Real-Ip")); ip != nil && !slices.Contains(out, ip.String()) {
		out = append(out, ip.String())
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil && (len(out) == 0 || out[len(out)-1] != host) {
		out = append(out, host)
	}
	return out
}

// unknownUser writes down a request whose user nobody knows.
func (s *Server) unknownUser(r *http.Request) {
	if s.deps.Audit == nil {
		return
	}
	var tried []string
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "basic") {
		tried = append(tried, strings.ToLower(scheme))
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		tried = append(tried, "x509")
	}
	message := "Authentication failed, no credentials provided"
	if len(tried) > 0 {
		message = "Authentication failed, attempted: " + strings.Join(tried, ", ")
	}
	s.unheard(r, metav1.Status{Code: http.StatusUnauthorized, Message: message})
}

// unheard writes down a request that is answered before it is known whose it is.
func (s *Server) unheard(r *http.Request, st metav1.Status) {
	if s.deps.Audit == nil {
		return
	}
	_, record := s.record(r, requestOf(r.Context()), false)
	record.Status(st)
	_ = record.Stage(audit.ResponseStarted) // only the first stage of a request can refuse it
}

// noteBody writes down the object that a request brings.
func noteBody(ctx context.Context, o object.Object, data []byte, form codec.Form) {
	record := audit.Of(ctx)
	if record == nil {
		return
	}
	record.About(o)
	if record.Wants(audit.Request) {
		record.Request(asJSON(data, form, o))
	}
}

// asJSON is a body as JSON; o is the object in it, which protobuf needs.
func asJSON(data []byte, form codec.Form, o object.Object) []byte {
	switch form {
	case codec.JSON:
		return data
	case codec.YAML:
		if j, err := yaml.YAMLToJSON(data); err == nil {
			return j
		}
	default:
		if e, err := codec.Encode(o, codec.JSON); err == nil {
			return e.Bytes
		}
	}
	return nil
}

// notePatch writes down a patch.
func notePatch(ctx context.Context, data []byte) {
	if record := audit.Of(ctx); record.Wants(audit.Request) {
		record.Request(asJSON(data, codec.YAML, nil)) // JSON is YAML
	}
}

// noteAnswer writes down the object that is answered.
func (s *Server) noteAnswer(ctx context.Context, q *request, a rest.Answer) {
	record := audit.Of(ctx)
	if record == nil {
		return
	}
	if st, ok := a.Other.(*metav1.Status); ok {
		record.Status(*st)
	}
	if record.Wants(audit.RequestResponse) {
		as := *q
		as.want.Form = codec.JSON
		if body, err := s.encode(&as, a); err == nil {
			record.Response(body)
		}
	}
}

// noteList writes down the list that is answered: always as a plain one.
func (s *Server) noteList(ctx context.Context, q *request, l *rest.Listing) {
	record := audit.Of(ctx)
	if !record.Wants(audit.RequestResponse) {
		return
	}
	as := *q
	as.want = codec.Wanted{Form: codec.JSON}
	out := codec.List{GVK: q.served.ListGVK(), Meta: l.Meta, Items: make([]codec.Encoded, len(l.Items))}
	for i, it := range l.Items {
		e, err := s.encodeItem(&as, it)
		if err != nil {
			return // the answer says so
		}
		out.Items[i] = e
	}
	var body bytes.Buffer
	if out.Write(&body, codec.JSON) == nil {
		record.Response(body.Bytes())
	}
}

// noteFailure writes down why a request failed.
func noteFailure(ctx context.Context, st metav1.Status) {
	record := audit.Of(ctx)
	if record == nil {
		return
	}
	record.Status(metav1.Status{Status: st.Status, Message: st.Message, Reason: st.Reason, Details: st.Details, Code: st.Code})
	if record.Wants(audit.RequestResponse) {
		if e, err := codec.Encode(&st, codec.JSON); err == nil {
			record.Response(e.Bytes)
		}
	}
}

// beginCall begins the record of a call without a wire.
func (s *Server) beginCall(ctx context.Context, at authz.Attributes) (context.Context, *audit.Record) {
	o := audit.Object{Resource: at.Resource, Namespace: at.Namespace, Name: at.Name, APIGroup: at.Group, APIVersion: at.Version, Subresource: at.Sub}
	a := audit.Attributes{User: at.User, Known: true, Verb: at.Verb, Resource: true, Object: o}
	e := audit.Event{AuditID: string(uuid.NewUUID()), Verb: at.Verb, User: audit.UserOf(at.User), UserAgent: "proa", Object: &o,
		RequestURI: pathOf(at), Received: audit.Time(time.Now())}
	ctx, record := s.deps.Audit.Begin(ctx, &a, &e)
	_ = record.Stage(audit.RequestReceived) // the server's own calls are never refused
	return ctx, record
}

// pathOf is where a request over the wire would go.
func pathOf(at authz.Attributes) string {
	path := "/api/" + at.Version
	if at.Group != "" {
		path = "/apis/" + at.Group + "/" + at.Version
	}
	if at.Namespace != "" && at.Resource != "namespaces" {
		path += "/namespaces/" + at.Namespace
	}
	path += "/" + at.Resource
	for _, p := range []string{at.Name, at.Sub} {
		if p != "" {
			path += "/" + p
		}
	}
	return path
}

// gate is the chain's stages for calls without a wire.
type gate struct{ s *Server }

// Begin implements local.Gate.
func (g gate) Begin(ctx context.Context, a authz.Attributes) (context.Context, local.Call) {
	c := local.Call{Ticket: g.s.flow.Own(), Began: time.Now()}
	if g.s.deps.Audit != nil {
		ctx, c.Record = g.s.beginCall(ctx, a)
	}
	return ctx, c
}

// Allow implements local.Gate.
func (g gate) Allow(ctx context.Context, a authz.Attributes) error { return g.s.allow(ctx, a) }

// Done implements local.Gate.
func (g gate) Done(a authz.Attributes, c *local.Call, err error) {
	c.Ticket.Leave()
	st := metav1.Status{Code: http.StatusOK}
	if err != nil {
		st = apierrors.NewInternalError(err).Status()
		if e, ok := apiStatus(err); ok {
			st = e
		}
	}
	g.s.metrics.call(a, int(st.Code), time.Since(c.Began))
	c.Record.Status(metav1.Status{Status: st.Status, Message: st.Message, Reason: st.Reason, Details: st.Details, Code: st.Code})
	_ = c.Record.Stage(audit.ResponseComplete) // only the first stage of a request can refuse it
}
