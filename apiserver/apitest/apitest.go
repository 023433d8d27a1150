package apitest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"proa.dev/apiserver"
	"proa.dev/apiserver/aggregate"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/apiserver/crd"
	"proa.dev/apiserver/rest"
	"proa.dev/client"
	"proa.dev/kinds/all"
	"proa.dev/kit/h2"
	"proa.dev/store"
	"proa.dev/store/etcd"
)

// Server is a running API server.
type Server struct {
	*apiserver.Server
	URL    string        // "http://127.0.0.1:34567"
	Client client.Client // as administrator
	Stop   func()        // ends the server and waits; the end of the test does so too
	Dir    string        // of the store
}

// Option changes what the server is made of.
type Option func(*apiserver.Deps)

// Start starts a server and waits until it is ready. It ends with the test.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	return StartIn(t, t.TempDir(), options...)
}

// StartIn starts a server whose store is in dir.
func StartIn(t testing.TB, dir string, options ...Option) *Server {
	t.Helper()
	log := slog.New(slog.NewTextHandler(output{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	st, err := etcd.New(etcd.Config{Dir: dir, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	others := aggregate.New(aggregate.Config{Log: log})
	d := apiserver.Deps{
		Store: st, Kinds: all.Kinds(), Discovery: others.Discovery, OpenAPI: others.OpenAPI, Elsewhere: others, Listener: ln, HTTP2: h2.Install, Log: log,
		Custom: func(a *rest.API, v client.View, self func() client.Client, log *slog.Logger) apiserver.Custom {
			return crd.New(a, v, self, log)
		},
		Authn: func(client.View) (authn.Authenticator, error) { return Everybody{}, nil },
		Authz: func(client.View) (authz.Authorizer, error) { return AllowAll{}, nil },
		Services: apiserver.Services{
			Ranges:    []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")},
			Advertise: netip.MustParseAddrPort("192.0.2.1:6443"),
		},
	}
	for _, o := range options {
		o(&d)
	}
	srv, err := apiserver.New(d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stores, stopStore := context.WithCancel(context.Background())
	storeDone, done := make(chan error, 1), make(chan error, 1)
	go func() { storeDone <- st.Run(stores) }()
	go func() { done <- srv.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("API server: %v", err)
		}
		stopStore()
		if err := <-storeDone; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("store: %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-srv.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("the API server ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the API server was not ready after 30 s")
	}
	return &Server{Server: srv, URL: "http://" + ln.Addr().String(), Client: srv.Local(Admin()), Stop: stop, Dir: dir}
}

// Admin is who everybody is.
func Admin() authn.User {
	return authn.User{Name: "admin", Groups: []string{authn.Masters, authn.Authenticated}}
}

// Everybody is an authenticator that believes what it is told.
type Everybody struct{}

// Authenticate implements authn.Authenticator.
func (Everybody) Authenticate(r *http.Request) (authn.User, bool, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return Admin(), true, nil
	}
	u, _, err := Everybody{}.Review(r.Context(), token, nil)
	return u, err == nil, err
}

// Review implements authn.Reviewer.
func (Everybody) Review(_ context.Context, token string, audiences []string) (authn.User, []string, error) {
	if token == "bad" {
		return authn.User{}, nil, errors.New("bad token")
	}
	parts := strings.Split(token, ",")
	return authn.User{Name: parts[0], Groups: append(parts[1:], authn.Authenticated)}, audiences, nil
}

// AllowAll is an authorizer that allows everything, but to the user "nobody".
type AllowAll struct{}

// Authorize implements authz.Authorizer.
func (AllowAll) Authorize(_ context.Context, a authz.Attributes) (authz.Decision, error) {
	return authz.Decision{Allowed: a.User.Name != "nobody"}, nil
}

// output is a test's log as a writer.
type output struct{ t testing.TB }

func (o output) Write(b []byte) (int, error) {
	o.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// Keep puts the server's store into where, for tests that need to reach around the API.
func Keep(where *store.Store) Option { return func(d *apiserver.Deps) { *where = d.Store } }
