package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/kit/prom"
	"proa.dev/kubelet/cri/critest"
	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/stats"
	"proa.dev/object"
)

// reviewer answers reviews: the token is the user, and alice may do all, bob may read stats.
type reviewer struct {
	client.Client
	asked *int
}

func (c reviewer) Create(_ context.Context, _ client.Target, o object.Object, _ metav1.CreateOptions) (object.Object, error) {
	*c.asked++
	switch r := o.(type) {
	case *authentication.TokenReview:
		r.Status.Authenticated = r.Spec.Token != "forged"
		r.Status.User.Username = r.Spec.Token
		return r, nil
	case *authorization.SubjectAccessReview:
		a := r.Spec.ResourceAttributes
		r.Status.Allowed = r.Spec.User == "alice" || r.Spec.User == "bob" && a.Subresource == "stats" && a.Name == "n1" && a.Verb == "get"
		return r, nil
	}
	return nil, errors.New("not here")
}

// host is a kubelet with one pod.
type host struct {
	pod      *core.Pod
	rt       observe.Pod
	complete chan struct{}
	asked    func() // called by Complete, if not nil
}

func (h *host) Pods() []*core.Pod { return []*core.Pod{h.pod} }

func (h *host) Complete() <-chan struct{} {
	if h.asked != nil {
		h.asked()
	}
	return h.complete
}

func (h *host) Observed(context.Context, types.UID) (observe.Pod, bool) { return h.rt, true }

func (h *host) Ended(types.UID, string) <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func setup(t *testing.T) (*Server, *host, *int) {
	log := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(log, []byte("2026-11-22T10:00:00Z stdout F hello\n2026-11-22T10:00:01Z stderr F oops\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"}}
	p.Spec.Containers = []core.Container{{Name: "c"}, {Name: "waits"}}
	p.Status.ContainerStatuses = []core.ContainerStatus{{Name: "waits", State: core.ContainerState{Waiting: &core.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
	h := &host{pod: p, complete: make(chan struct{})}
	close(h.complete)
	h.rt.SetSandbox(observe.Sandbox{ID: "s", Ready: true, IPs: []netip.Addr{netip.MustParseAddr("10.42.0.5")}})
	h.rt.SetContainer(observe.Container{ID: "c1", Name: "c", State: observe.Running, LogPath: log})
	asked := 0
	rt := critest.New()
	node := &spec.Node{Name: "n1"}
	s, err := New(Deps{
		Client: reviewer{asked: &asked}, View: controltest.New(t).View(), Runtime: rt, Host: h, Node: node, Logs: t.TempDir(),
		Stats:   stats.New(stats.Deps{Runtime: rt, Host: h, Node: node}),
		Probes:  func() *prom.Page { return &prom.Page{} },
		Metrics: []func(*prom.Page){func(p *prom.Page) { p.Head("extra", "gauge", "Extra."); p.Value("", 7) }},
		Log:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, h, &asked
}

func ask(t *testing.T, s *Server, method, path, token string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestGate(t *testing.T) {
	s, _, asked := setup(t)
	for _, c := range []struct {
		method, path, token string
		code                int
		want                string
	}{
		{"GET", "/pods", "", 401, "Unauthorized"},
		{"GET", "/pods", "forged", 401, "Unauthorized"},
		{"GET", "/healthz", "alice", 200, "ok"},
		{"GET", "/pods", "alice", 200, `"name":"web"`},
		{"GET", "/runningpods/", "alice", 200, `"name":"web"`},
		{"GET", "/stats/summary", "bob", 200, `"nodeName":"n1"`},
		{"GET", "/pods", "bob", 403, "Forbidden (user=bob, verb=get, resource=nodes, subresource(s)=[pods proxy])"},
		{"POST", "/run/ns/web/c?cmd=id", "bob", 403, "verb=create, resource=nodes, subresource(s)=[proxy]"},
		{"GET", "/metrics", "alice", 200, "kubelet_running_pods 1\n"},
		{"GET", "/metrics", "alice", 200, `kubelet_running_containers{container_state="running"} 1`},
		{"GET", "/metrics", "alice", 200, `kubelet_desired_pods{static=""} 1`},
		{"GET", "/metrics", "alice", 200, `kubelet_node_name{node="n1"} 1`},
		{"GET", "/metrics", "alice", 200, "extra 7\n"},
		{"GET", "/metrics", "alice", 200, "process_start_time_seconds"},
		{"GET", "/wild/a", "alice", 404, ""},
		{"BREW", "/wild/b", "alice", 404, ""},
		{"GET", "/metrics", "alice", 200, `kubelet_http_inflight_requests{long_running="false",method="GET",path="metrics",server_type="readwrite"} 1`},
		{"GET", "/metrics", "alice", 200, `kubelet_http_requests_total{long_running="false",method="GET",path="other",server_type="readwrite"} 1`},
		{"GET", "/metrics", "alice", 200, `kubelet_http_requests_total{long_running="false",method="other",path="other",server_type="readwrite"} 1`},
		{"GET", "/metrics/resource", "alice", 200, "# TYPE node_memory_working_set_bytes gauge"},
		{"GET", "/logs/../../etc/passwd", "alice", 307, ""},
		{"GET", "/nothing", "alice", 404, ""},
	} {
		if code, body := ask(t, s, c.method, c.path, c.token); code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s %s as %q: %d %q, want %d %q", c.method, c.path, c.token, code, body, c.code, c.want)
		}
	}
	before := *asked
	for range 10 {
		ask(t, s, "GET", "/pods", "alice")
	}
	if *asked != before {
		t.Errorf("%d reviews for what was known", *asked-before)
	}
}

func TestContainerLogs(t *testing.T) {
	s, h, _ := setup(t)
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"ns/web/c", 200, "hello\noops\n"},
		{"ns/web/c?tailLines=1", 200, "oops\n"},
		{"ns/web/c?limitBytes=3", 200, "hel"},
		{"ns/web/c?stream=Stdout", 200, "hello\n"},
		{"ns/web/c?timestamps=true&tailLines=1", 200, "2026-11-22T10:00:01.000000000Z oops\n"},
		{"ns/web/c?follow=true", 200, "hello\noops\n"},
		{"ns/web/c?tailLines=-1", 422, `invalid tailLines "-1"`},
		{"ns/web/c?sinceTime=yesterday", 422, `invalid sinceTime "yesterday"`},
		{"ns/web/c?previous=true", 400, `previous terminated container "c" in pod "web" not found`},
		{"ns/web/waits", 400, `container "waits" in pod "web" is waiting to start: trying and failing to pull image`},
		{"ns/web/none", 404, `container "none" not found in pod "web"`},
		{"ns/none/c", 404, "pod does not exist"},
	} {
		if code, body := ask(t, s, "GET", "/containerLogs/"+c.path, "alice"); code != c.code || strings.TrimSuffix(body, "\n") != strings.TrimSuffix(c.want, "\n") {
			t.Errorf("%s: %d %q, want %d %q", c.path, code, body, c.code, c.want)
		}
	}
	now := h.rt.Containers[0]
	now.State, now.Finished = observe.Exited, time.Now()
	h.rt.SetContainer(now)
	next := observe.Container{ID: "c2", Name: "c", State: observe.Created, Created: time.Now()}
	h.rt.SetContainer(next)
	if code, body := ask(t, s, "GET", "/containerLogs/ns/web/c?previous=true", "alice"); code != 200 || body != "hello\noops\n" {
		t.Errorf("previous: %d %q", code, body)
	}
}

// TestJustStarted asks for a pod that the kubelet learns of only then.
func TestJustStarted(t *testing.T) {
	s, h, _ := setup(t)
	late := h.pod
	h.pod, h.complete = &core.Pod{}, make(chan struct{})
	h.asked = func() {
		h.pod = late
		close(h.complete)
	}
	if code, body := ask(t, s, "GET", "/containerLogs/ns/web/c?tailLines=1", "alice"); code != 200 || body != "oops\n" {
		t.Errorf("%d %q", code, body)
	}
}

// TestClientCertificates uses the certificate of a test server as the authority of clients, too.
func TestClientCertificates(t *testing.T) {
	s, _, _ := setup(t)
	known := httptest.NewUnstartedServer(nil)
	known.StartTLS()
	defer known.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(known.Certificate())
	s.Listener, s.TLS = l, &tls.Config{Certificates: known.TLS.Certificates}
	s.gate.cas = func() *x509.CertPool { return pool }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	get := func(certs []tls.Certificate) (int, string) {
		c := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com", Certificates: certs}}}
		resp, err := c.Get(fmt.Sprintf("https://%s/healthz", l.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Proto + " " + string(b)
	}
	if code, body := get(nil); code != 401 {
		t.Errorf("without a certificate: %d %s", code, body)
	}
	// The certificate of httptest is for servers too, and its owner has no name that anybody allows.
	if code, body := get(known.TLS.Certificates); code != 403 && code != 401 {
		t.Errorf("with a certificate of nobody in particular: %d %s", code, body)
	}
	s.gate.cas = x509.NewCertPool
	if code, body := get(known.TLS.Certificates); code != 401 {
		t.Errorf("with a certificate of another authority: %d %s", code, body)
	}
}
