package probe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/kubelet/cri/critest"
	"proa.dev/object"
)

var loopback = netip.MustParseAddr("127.0.0.1")

func try(t *testing.T, h core.ProbeHandler, c *core.Container) (bool, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return check(ctx, critest.New(), Target{Container: c, ID: "none", IP: loopback}, &core.Probe{ProbeHandler: h, TimeoutSeconds: 2})
}

func TestHTTP(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			if r.Host != "shop.example" || r.Header.Get("X-Two") != "a" || len(r.Header.Values("X-Two")) != 2 || !strings.HasPrefix(r.UserAgent(), "kube-probe/") {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/here":
			http.Redirect(w, r, "/plain", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/plain":
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	for scheme, srv := range map[core.URIScheme]*httptest.Server{core.URISchemeHTTP: httptest.NewServer(handler), core.URISchemeHTTPS: httptest.NewTLSServer(handler)} {
		defer srv.Close()
		port := srv.Listener.Addr().(*net.TCPAddr).Port
		c := &core.Container{Name: "c", Ports: []core.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}
		get := func(path string, p intstr.IntOrString) (bool, string) {
			return try(t, core.ProbeHandler{HTTPGet: &core.HTTPGetAction{Path: path, Port: p, Scheme: scheme, HTTPHeaders: []core.HTTPHeader{
				{Name: "Host", Value: "shop.example"}, {Name: "X-Two", Value: "a"}, {Name: "X-Two", Value: "b"},
			}}}, c)
		}
		for path, want := range map[string]string{
			"/ok": "", "/plain?x=1": "", "/here": "", "/bad": "HTTP probe failed with statuscode: 500", "/loop": "stopped after 10 redirects",
		} {
			ok, message := get(path, intstr.FromString("web"))
			if ok != (want == "") || ok && message != "" || !strings.Contains(message, want) {
				t.Errorf("%s %s: %v %q, want %q", scheme, path, ok, message, want)
			}
		}
		away := "Probe terminated redirects, Response body: <a href=\"http://192.0.2.1/\">Found</a>.\n\n"
		if ok, message := get("/away", intstr.FromString("web")); !ok || message != away {
			t.Errorf("%s /away: %v %q", scheme, ok, message)
		}
		if ok, message := get("/ok", intstr.FromString("none")); ok || message != "couldn't find port: none in container c" {
			t.Errorf("unknown port: %v %q", ok, message)
		}
	}
}

func TestTCPAndGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := int32(l.Addr().(*net.TCPAddr).Port)
	h := health.NewServer()
	srv := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(srv, h)
	go srv.Serve(l)
	defer srv.Stop()
	h.SetServingStatus("up", grpc_health_v1.HealthCheckResponse_SERVING)
	h.SetServingStatus("down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	c := &core.Container{Name: "c"}
	ask := func(service string) (bool, string) {
		return try(t, core.ProbeHandler{GRPC: &core.GRPCAction{Port: port, Service: &service}}, c)
	}
	for service, want := range map[string]string{
		"": "", "up": "", "down": `service unhealthy (responded with "NOT_SERVING")`, "unknown": "error: health rpc probe failed",
	} {
		if ok, message := ask(service); ok != (want == "") || !strings.Contains(message, want) {
			t.Errorf("%q: %v %q, want %q", service, ok, message, want)
		}
	}
	tcp := core.ProbeHandler{TCPSocket: &core.TCPSocketAction{Port: intstr.FromInt32(port)}}
	if ok, message := try(t, tcp, c); !ok {
		t.Error(message)
	}
	srv.Stop()
	if ok, message := try(t, tcp, c); ok || !strings.Contains(message, "refused") {
		t.Errorf("after the end: %v %q", ok, message)
	}
	if ok, message := ask("up"); ok || !strings.HasPrefix(message, "timeout: failed to connect service") {
		t.Errorf("after the end: %v %q", ok, message)
	}
}

// recorder counts events.
type recorder chan string

func (r recorder) Field(_ object.Object, field, kind, reason, format string, args ...any) {
	r <- fmt.Sprintf("%s %s %s %s", field, kind, reason, fmt.Sprintf(format, args...))
}

func TestThresholds(t *testing.T) {
	events := make(recorder, 100)
	changes := make(chan struct{}, 100)
	p, err := New(Deps{Runtime: critest.New(), Events: events, Changed: func(types.UID) { changes <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p.Bind(ctx)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := core.ProbeHandler{TCPSocket: &core.TCPSocketAction{Port: intstr.FromInt32(int32(l.Addr().(*net.TCPAddr).Port))}}
	c := &core.Container{
		Name:          "c",
		StartupProbe:  &core.Probe{ProbeHandler: h, PeriodSeconds: 1, SuccessThreshold: 1, FailureThreshold: 1},
		LivenessProbe: &core.Probe{ProbeHandler: h, PeriodSeconds: 1, SuccessThreshold: 1, FailureThreshold: 2, TerminationGracePeriodSeconds: new(int64)},
	}
	pod := &core.Pod{Spec: core.PodSpec{Containers: []core.Container{*c}}}
	wait := func(what string, ok func(State) bool) {
		t.Helper()
		for end := time.After(20 * time.Second); ; {
			if s, known := p.State("id"); known && ok(s) {
				return
			}
			select {
			case <-changes:
			case <-end:
				t.Fatalf("waited in vain for %s", what)
			}
		}
	}
	p.Start(Target{Pod: pod, Container: c, ID: "id", IP: loopback, Started: time.Now()})
	p.Start(Target{Pod: pod, Container: c, ID: "id", IP: loopback, Started: time.Now()})
	wait("the start", func(s State) bool { return s.Started && s.Ready })
	l.Close()
	wait("the failure", func(s State) bool { return s.Failed != nil && s.Failed.Probe == "liveness" && *s.Failed.Grace == 0 })
	for range 2 {
		if e := <-events; !strings.HasPrefix(e, "spec.containers{c} Warning Unhealthy Liveness probe failed: dial tcp") {
			t.Errorf("event %q", e)
		}
	}
	p.Stop("id")
	if _, known := p.State("id"); known {
		t.Error("a stopped container is still known")
	}
}

func TestWarning(t *testing.T) {
	events := make(recorder, 100)
	p, err := New(Deps{Runtime: critest.New(), Events: events, Changed: func(types.UID) {}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p.Bind(ctx)
	srv := httptest.NewServer(http.RedirectHandler("http://192.0.2.1/", http.StatusFound))
	defer srv.Close()
	port := intstr.FromInt32(int32(srv.Listener.Addr().(*net.TCPAddr).Port))
	c := &core.Container{Name: "c", LivenessProbe: &core.Probe{
		ProbeHandler: core.ProbeHandler{HTTPGet: &core.HTTPGetAction{Port: port}}, PeriodSeconds: 1, SuccessThreshold: 1, FailureThreshold: 1,
	}}
	pod := &core.Pod{Spec: core.PodSpec{Containers: []core.Container{*c}}}
	p.Start(Target{Pod: pod, Container: c, ID: "id", IP: loopback, Started: time.Now()})
	defer p.Stop("id")
	select {
	case e := <-events:
		if !strings.HasPrefix(e, "spec.containers{c} Warning ProbeWarning Liveness probe warning: Probe terminated redirects, Response body: <a") {
			t.Errorf("event %q", e)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
	}
	if s, _ := p.State("id"); s.Failed != nil {
		t.Errorf("a warning is no failure: %+v", s)
	}
}

func TestStateFromBeforeARestart(t *testing.T) {
	p, err := New(Deps{Runtime: critest.New(), Events: make(recorder, 100), Changed: func(types.UID) {}})
	if err != nil {
		t.Fatal(err)
	}
	h := core.ProbeHandler{TCPSocket: &core.TCPSocketAction{Port: intstr.FromInt32(1)}}
	late := &core.Probe{ProbeHandler: h, PeriodSeconds: 100, InitialDelaySeconds: 100}
	c := &core.Container{Name: "c", StartupProbe: late, ReadinessProbe: late}
	pod := &core.Pod{Spec: core.PodSpec{Containers: []core.Container{*c}}}
	p.Start(Target{Pod: pod, Container: c, ID: "new", IP: loopback, Started: time.Now()})
	p.Start(Target{Pod: pod, Container: c, ID: "old", IP: loopback, Started: time.Now(), Was: &State{Started: true, Ready: true}})
	if s, _ := p.State("new"); s.Started || s.Ready {
		t.Errorf("a new container is %+v", s)
	}
	if s, _ := p.State("old"); !s.Started || !s.Ready {
		t.Errorf("one that was ready is %+v", s)
	}
	p.Stop("new")
	p.Stop("old")
}
