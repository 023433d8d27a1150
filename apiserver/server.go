package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/audit"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/apiserver/cache"
	"proa.dev/apiserver/flow"
	"proa.dev/apiserver/local"
	"proa.dev/apiserver/rest"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/kit/prom"
	"proa.dev/kit/run"
	"proa.dev/store"
)

// Deps are what a Server is made of. Store, Kinds, Authn and Authz are required. The functions of a View are called once by New;
// the View that they get is filled while the server runs.
type Deps struct {
	Store store.Store
	Kinds []*kinds.Kind

	Authn  func(client.View) (authn.Authenticator, error)
	Authz  func(client.View) (authz.Authorizer, error)
	Issuer func(client.View) (rest.Issuer, error) // nil: no serviceaccounts/token

	Connect   rest.Connector                          // nil: subresources that stream answer 501
	Discovery func(func() []*kinds.Kind) http.Handler // /api and /apis
	OpenAPI   func(func() []*kinds.Kind) http.Handler // /openapi/
	Routes    map[string]http.Handler                 // further paths, exact: /.well-known/openid-configuration ...
	Elsewhere Elsewhere                               // who answers for what this server does not; nil: nobody

	Listener net.Listener // with TLS nil it speaks plain HTTP: tests only
	TLS      *tls.Config
	HTTP2    HTTP2 // nil: net/http's own

	ClientCA     []byte // PEM of what signs client certificates and front proxies, for extension servers; nil: not published
	FrontProxyCA []byte

	// Custom serves kinds that come and go at run time; nil: none do. The function self is not for use before Run.
	Custom func(api *rest.API, view client.View, self func() client.Client, log *slog.Logger) Custom

	Services Services
	Plugins  []admission.Plugin                        // what is admitted beyond what apiserver/admission looks at itself
	Without  []string                                  // admission plugins that are left out
	Computed map[schema.GroupVersionKind]rest.Computed // who makes the objects of kinds that are not stored
	Begin    []Begin                                   // run side by side at start
	Audit    *audit.Log                                // nil: no audit log
	Seats    int                                       // requests at once, shared out by package flow; 0: flow.Seats
	Goaway   float64                                   // the chance of a request over HTTP/2 to be the last one of its connection
	Checks   map[string]func(context.Context) error    // further health checks, by name
	Metrics  []func(*prom.Page)                        // further metrics
	Log      *slog.Logger
	Now      func() time.Time // nil: time.Now
}

// HTTP2 makes a server speak HTTP/2 on what the returned listener accepts.
type HTTP2 func(srv *http.Server, l net.Listener) net.Listener

// Custom serves kinds at run time by the verbs that it was made with.
type Custom interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{} // closed when the kinds that were defined at the start are served
}

// Elsewhere knows which group versions other servers answer for.
type Elsewhere interface {
	// Serving is who answers for a group version, or nil: this server itself.
	Serving(group, version string) http.Handler
	// Run finds that out until ctx ends.
	Run(ctx context.Context, v client.View, c client.Client) error
}

// Services says where services live.
type Services struct {
	Ranges    []netip.Prefix // of cluster addresses, the first family first
	NodePorts [2]int         // first and last node port; zero is 30000-32767
	Advertise netip.AddrPort // where this server is reached: the endpoint of default/kubernetes; zero: no such service
}

// Server is the API server.
type Server struct {
	deps    Deps
	log     *slog.Logger
	now     func() time.Time
	cache   *cache.Cache
	rest    *rest.API
	authn   authn.Authenticator
	authz   authz.Authorizer
	flow    *flow.Sharer
	metrics *metrics
	handler http.Handler
	start   *admission.Start
	custom  Custom
	going   sync.Map // *rest.Served -> string: the warning that the kind is on its way out

	stages map[string]chan struct{} // of the start, closed as they are done; see stage

	ready  chan struct{}      // closed when the server answers everything
	ending context.Context    // is over when the server begins to end
	end    context.CancelFunc // of ending
	ended  chan struct{}      // closed when Run returns
	checks []check
}

// New puts a server together. It starts nothing.
func New(d Deps) (*Server, error) {
	if d.Store == nil || d.Authn == nil || d.Authz == nil || len(d.Kinds) == 0 {
		return nil, errors.New("an API server needs a store, kinds, an authenticator and an authorizer")
	}
	s := &Server{deps: d, log: d.Log, now: d.Now, metrics: newMetrics(), flow: flow.New(d.Seats), ready: make(chan struct{}), ended: make(chan struct{}), stages: map[string]chan struct{}{}}
	s.ending, s.end = context.WithCancel(context.Background())
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	st := timed(d.Store, s.metrics)
	s.cache = cache.New(cache.Deps{Store: st, Kinds: d.Kinds, Log: s.log})
	view := s.cache.View()
	var err error
	if s.authn, err = d.Authn(view); err != nil {
		return nil, fmt.Errorf("set up authentication: %w", err)
	}
	if s.authz, err = d.Authz(view); err != nil {
		return nil, fmt.Errorf("set up authorisation: %w", err)
	}
	var issuer rest.Issuer
	if d.Issuer != nil {
		if issuer, err = d.Issuer(view); err != nil {
			return nil, fmt.Errorf("set up the token issuer: %w", err)
		}
	}
	s.start, err = admission.New(admission.Deps{View: view, Authz: s.authz, Ranges: d.Services.Ranges, NodePorts: d.Services.NodePorts,
		Advertise: d.Services.Advertise, ClientCA: d.ClientCA, FrontProxyCA: d.FrontProxyCA, Log: s.log,
		Self: func() client.Client { return s.Local(Self()) }, Kinds: s.Kinds, Plugins: d.Plugins, Without: d.Without,
		Merge: func(k *kinds.Kind) (managedfields.TypeConverter, error) { return s.rest.Merge(k) }})
	if err != nil {
		return nil, err
	}
	s.rest = rest.New(rest.Deps{Cache: s.cache, Store: st, Kinds: d.Kinds, Admission: s.start.Chain(), Authz: s.authz, Authn: s.authn,
		Issuer: issuer, Computed: d.Computed, Log: s.log, Now: d.Now})
	if d.Custom != nil {
		s.custom = d.Custom(s.rest, view, func() client.Client { return s.Local(Self()) }, s.log)
	}
	s.checks = s.healthChecks()
	s.handler = s.chain(s.routes())
	return s, nil
}

// Handler is the whole chain, for tests.
func (s *Server) Handler() http.Handler { return s.handler }

// View is every object, shared and frozen. It is filled once Run has begun.
func (s *Server) View() client.View { return s.cache.View() }

// Kinds is what is served now: the same slice as long as nothing changes, so that its first element's address says whether something
// has. Nobody writes to it.
func (s *Server) Kinds() []*kinds.Kind { return s.rest.Kinds() }

// Ready is closed when the server answers everything.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Local is the API without a wire, as user. Its calls wait until the server has read its store.
func (s *Server) Local(user authn.User) client.Client {
	return local.New(local.Deps{API: s.rest, Gate: gate{s}, User: user, As: programOf(user.Name), Ready: s.cache.Ready(), Ended: s.ended})
}

// programOf is what Kubernetes calls the program that has a user's part: it is the field manager of what that writes.
func programOf(user string) string {
	name, system := strings.CutPrefix(user, "system:")
	switch {
	case system && strings.HasPrefix(name, "node:"):
		return "kubelet"
	case user == Self().Name:
		return "kube-apiserver"
	}
	return name
}

// Self is the identity of the server itself.
func Self() authn.User {
	return authn.User{Name: "system:apiserver", Groups: []string{authn.Masters, authn.Authenticated}}
}

// Run serves until ctx ends, and then ends in order: no new requests, watches closed, requests finished, cache stopped.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.ended)
	inner, stop := context.WithCancel(context.WithoutCancel(ctx)) // the cache outlives the last request
	defer stop()
	parts := []run.Component{
		{Name: "cache", Run: s.cache.Run},
		{Name: "begin", Run: func(ctx context.Context) error { return s.begin(ctx) }},
		{Name: "admission", Run: s.start.Run},
		{Name: "expiry", Run: s.expiry},
		{Name: "fairness", Run: s.fairness},
	}
	if s.deps.Elsewhere != nil {
		parts = append(parts, run.Component{Name: "aggregation", Run: s.elsewhere})
	}
	if s.custom != nil {
		parts = append(parts, run.Component{Name: "custom kinds", Run: s.custom.Run})
	}
	parts = append(parts, run.Component{Name: "http", Run: func(inner context.Context) error {
		defer stop()
		return s.listen(ctx, inner)
	}})
	err := run.All(inner, parts...)
	if ctx.Err() != nil { // the store may have ended first, and then the cache says so
		s.log.Debug("API server ended", "err", err)
		return nil
	}
	return err
}

// begin makes the objects that every cluster has, says that the server is ready, and waits for its end.
func (s *Server) begin(ctx context.Context) error {
	select {
	case <-s.cache.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	began := time.Now()
	self := s.Local(Self())
	if err := s.start.Namespaces(ctx, self); err != nil {
		return fmt.Errorf("make the first namespaces: %w", err)
	}
	close(s.stages["namespaces"])
	g, gctx := errgroup.WithContext(ctx)
	for _, b := range append([]Begin{{"objects", s.start.Begin}, {"shares", s.shareObjects}}, s.deps.Begin...) {
		g.Go(func() error {
			if err := b.Do(gctx, self); err != nil {
				return err
			}
			close(s.stages[b.Name])
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("make the first objects: %w", err)
	}
	if s.custom != nil {
		select {
		case <-s.custom.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	close(s.ready)
	s.log.Info("API server ready", "took", time.Since(began).Round(time.Millisecond))
	<-ctx.Done()
	return ctx.Err()
}

// expiry deletes objects whose kind has a time to live.
func (s *Server) expiry(ctx context.Context) error {
	select {
	case <-s.cache.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.rest.Expire(ctx)
}

// elsewhere follows what other servers answer for, once it is clear what this one does.
func (s *Server) elsewhere(ctx context.Context) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.deps.Elsewhere.Run(ctx, s.View(), s.Local(Self()))
}

// Times of the end of a server.
const (
	drainFor    = 10 * time.Second // for requests under way
	headerLimit = 32 * time.Second
)

// listen serves HTTP until ctx ends and everything under way is done. Requests live in inner.
func (s *Server) listen(ctx, inner context.Context) error {
	if s.deps.Listener == nil { // Local and Handler only
		<-ctx.Done()
		s.end()
		return nil
	}
	srv := &http.Server{
		Handler: s.handler, TLSConfig: s.deps.TLS, ReadHeaderTimeout: headerLimit, IdleTimeout: 3 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return inner },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: 1000, MaxReadFrameSize: 1 << 20},
	}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	listener := s.deps.Listener
	if s.deps.HTTP2 != nil && s.deps.TLS != nil {
		listener = s.deps.HTTP2(srv, listener)
	}
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if s.deps.TLS != nil {
			failed <- srv.ServeTLS(listener, "", "")
		} else {
			failed <- srv.Serve(listener)
		}
	})
	select {
	case err := <-failed:
		s.end()
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	case <-inner.Done(): // another part has failed
	}
	s.end()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	if err := srv.Shutdown(limit); err != nil {
		s.log.Warn("requests were cut off at the end", "err", err)
		return srv.Close()
	}
	return nil
}
