package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/client/clienttest"
	"proa.dev/object"
	"proa.dev/pki"
)

func newClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// startView runs a view until the test ends.
func startView(t testing.TB, c *Client, resources ...object.Resource) *View {
	t.Helper()
	v := NewView(c, slog.New(slog.DiscardHandler), resources...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("view: %v", err)
		}
	})
	limited, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	if err := v.Synced(limited); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSuiteOverTLS(t *testing.T) {
	ca, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Rotating("", pki.Leaf{Name: "api", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	api := apitest.Start(t, func(d *apiserver.Deps) {
		d.TLS = &tls.Config{GetCertificate: cert.GetCertificate, NextProtos: []string{"h2", "http/1.1"}}
	})
	u, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, Config{Host: "https://" + u.Host, TLS: &tls.Config{RootCAs: ca.CAPool()}})
	clienttest.Run(t, c, startView(t, c, clienttest.Resources()...))
}

func TestSuiteInProcess(t *testing.T) {
	api := apitest.Start(t)
	clienttest.Run(t, api.Client, api.View())
}

func TestTokenAndForbidden(t *testing.T) {
	api := apitest.Start(t)
	token := "bad"
	c := newClient(t, Config{Host: api.URL, Token: func() string { return token }})
	get := func() error {
		_, err := client.Get[core.Namespace](t.Context(), c, object.Key{Name: "default"})
		return err
	}
	if err := get(); !apierrors.IsUnauthorized(err) {
		t.Errorf("a bad token: %v", err)
	}
	token = "nobody"
	if err := get(); !apierrors.IsForbidden(err) {
		t.Errorf("somebody who may nothing: %v", err)
	}
	token = "bob,system:masters"
	if err := get(); err != nil {
		t.Errorf("a good token: %v", err)
	}
}

func configMaps() object.Resource { return clienttest.Resources()[0] }

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("waited 20 s for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// door stands between client and server and can be shut, cutting what goes through it.
type door struct {
	*httptest.Server
	target atomic.Pointer[url.URL]
	shut   atomic.Bool
	gone   atomic.Int32 // so many watches are answered with 410
	lists  atomic.Int32
}

func newDoor(t *testing.T, to string) *door {
	d := &door{}
	d.to(t, to)
	p := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(d.target.Load()) },
		FlushInterval: -1, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if d.shut.Load() {
			panic(http.ErrAbortHandler)
		}
		if q.Get("sendInitialEvents") == "true" || q.Get("watch") == "" {
			d.lists.Add(1)
		}
		if q.Get("watch") == "true" && q.Get("resourceVersion") != "" && d.gone.Add(-1) >= 0 {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusGone)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old resource version"}`)
			return
		}
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(d.Close)
	return d
}

func (d *door) to(t *testing.T, target string) {
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	d.target.Store(u)
}

func put(t *testing.T, c client.Client, name, value string) {
	t.Helper()
	_, err := client.Create(t.Context(), c, &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"k": value}})
	if err != nil {
		t.Fatal(err)
	}
}

func has(v *View, name string) bool {
	_, ok := client.Lookup[core.ConfigMap](v, object.Key{Namespace: "default", Name: name})
	return ok
}

func TestViewSurvivesBrokenConnections(t *testing.T) {
	api := apitest.Start(t)
	d := newDoor(t, api.URL)
	c := newClient(t, Config{Host: d.URL})
	v := startView(t, c, configMaps())
	put(t, api.Client, "a", "1")
	waitFor(t, "a", func() bool { return has(v, "a") })
	lists := d.lists.Load()
	d.shut.Store(true)
	d.CloseClientConnections()
	put(t, api.Client, "b", "1") // while nobody looks
	if err := client.Delete[core.ConfigMap](t.Context(), api.Client, object.Key{Namespace: "default", Name: "a"}, ""); err != nil {
		t.Fatal(err)
	}
	d.shut.Store(false)
	waitFor(t, "what happened meanwhile", func() bool { return has(v, "b") && !has(v, "a") })
	if n := d.lists.Load(); n != lists {
		t.Errorf("everything was read again %d times, for a broken connection", n-lists)
	}
	d.shut.Store(true)
	d.gone.Store(1)
	d.CloseClientConnections()
	put(t, api.Client, "c", "1")
	d.shut.Store(false)
	waitFor(t, "what happened before a revision was forgotten", func() bool { return has(v, "c") })
	if n := d.lists.Load(); n != lists+1 {
		t.Errorf("everything was read %d times after 410, want once", n-lists)
	}
}

func TestViewSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	api := apitest.StartIn(t, dir)
	d := newDoor(t, api.URL)
	v := startView(t, newClient(t, Config{Host: d.URL}), configMaps())
	put(t, api.Client, "a", "1")
	waitFor(t, "a", func() bool { return has(v, "a") })
	d.CloseClientConnections() // or the server waits for the door's watches
	api.Stop()
	api = apitest.StartIn(t, dir)
	d.to(t, api.URL)
	put(t, api.Client, "b", "1")
	waitFor(t, "b", func() bool { return has(v, "b") && has(v, "a") })
}

// TestServersWithoutWatchList lists instead.
func TestServersWithoutWatchList(t *testing.T) {
	api := apitest.Start(t)
	put(t, api.Client, "a", "1")
	d := newDoor(t, api.URL)
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("sendInitialEvents") != "" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"sendInitialEvents is forbidden"}`)
			return
		}
		d.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(old.Close)
	v := startView(t, newClient(t, Config{Host: old.URL}), configMaps())
	if !has(v, "a") {
		t.Error("the view lacks what there was")
	}
	put(t, api.Client, "b", "1")
	waitFor(t, "b", func() bool { return has(v, "b") })
}

func TestNarrowView(t *testing.T) {
	api := apitest.Start(t)
	v := NewView(newClient(t, Config{Host: api.URL}), slog.New(slog.DiscardHandler), configMaps())
	v.Narrow(configMaps().GroupVersionResource, "", "metadata.name=b")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	put(t, api.Client, "a", "1")
	put(t, api.Client, "b", "1")
	waitFor(t, "b", func() bool { return has(v, "b") })
	if has(v, "a") {
		t.Error("the view carries what it was not asked for")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBusyServerIsAskedAgain(t *testing.T) {
	var calls atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}`)
	}))
	t.Cleanup(s.Close)
	o, err := newClient(t, Config{Host: s.URL}).Get(t.Context(), client.TargetOf[core.ConfigMap](object.Key{Namespace: "d", Name: "a"}))
	if err != nil || o.GetName() != "a" || calls.Load() != 3 {
		t.Errorf("%v, %v after %d calls", o, err, calls.Load())
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(`{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}}`), false)
	f.Add([]byte("\x00\x00\x00\x04k8s\x00"), true)
	f.Fuzz(func(t *testing.T, data []byte, binary bool) {
		kind := jsonType
		if binary {
			kind = protoType
		}
		in := newFrames(bytes.NewReader(data), kind)
		for range 100 {
			if _, o, err := in.next(); err != nil {
				return
			} else if o == nil {
				t.Fatal("no object and no error")
			}
		}
	})
}
