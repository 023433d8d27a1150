package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	crportforward "k8s.io/cri-streaming/pkg/streaming/portforward"
	crremote "k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

// node is a kubelet as far as streams go: the streaming library of container runtimes behind a kubelet's paths.
type node struct{}

func (node) ExecInContainer(_ context.Context, name string, _ string, container string, cmd []string, in io.Reader, out, err io.WriteCloser, tty bool, sizes <-chan crremote.TerminalSize, _ time.Duration) error {
	switch cmd[0] {
	case "cat":
		_, e := io.Copy(out, in)
		return e
	case "size":
		s := <-sizes
		_, e := fmt.Fprintf(out, "%dx%d", s.Width, s.Height)
		return e
	case "fail":
		fmt.Fprint(err, "no good")
		return exit(3)
	}
	_, e := fmt.Fprintf(out, "%s/%s: %s", name, container, strings.Join(cmd, " "))
	return e
}

type exit int

func (e exit) Error() string   { return fmt.Sprintf("exit status %d", int(e)) }
func (e exit) String() string  { return e.Error() }
func (e exit) Exited() bool    { return true }
func (e exit) ExitStatus() int { return int(e) }

func (node) PortForward(_ context.Context, _ string, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	line := make([]byte, 5)
	if _, err := io.ReadFull(stream, line); err != nil {
		return err
	}
	_, err := fmt.Fprintf(stream, "%s from port %d", line, port)
	return err
}

func (n node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	switch parts[1] {
	case "exec":
		o, err := crremote.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		crremote.ServeExec(w, r, n, parts[3], "", parts[4], r.URL.Query()["command"], o, time.Minute, time.Minute, crremote.SupportedStreamingProtocols)
	case "portForward":
		crportforward.ServePortForward(w, r, n, parts[3], "", &crportforward.V4Options{}, time.Minute, time.Minute, crportforward.SupportedProtocols)
	case "containerLogs":
		if r.URL.Query().Get("previous") == "true" {
			http.Error(w, `previous terminated container "c" in pod "web" not found`, http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "log of %s %s\n", r.URL.Path, r.URL.RawQuery)
	case "healthz":
		fmt.Fprint(w, "ok")
	default:
		http.NotFound(w, r)
	}
}

// serve runs Streams behind a server that reads the target from the path, as the API server does.
func serve(t *testing.T, s *Streams) *rest.Config {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // api v1 namespaces default pods web exec
		tg := client.Target{Resource: client.Resource{Version: "v1"}}
		p = p[2:]
		if p[0] == "namespaces" {
			tg.Namespace, p = p[1], p[2:]
		}
		tg.Resource.Resource, tg.Name, tg.Sub = p[0], p[1], p[2]
		s.Connect(&wrapped{w}, r, tg)
	}))
	t.Cleanup(srv.Close)
	return &rest.Config{Host: srv.URL}
}

// wrapped hides what the writer can, as the stages of a chain do.
type wrapped struct{ http.ResponseWriter }

func (w *wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func setup(t *testing.T) (*Streams, *controltest.API) {
	kubelet := httptest.NewServer(node{})
	t.Cleanup(kubelet.Close)
	api := controltest.New(t)
	n := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = 10250
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	p.Spec.NodeName = "n1"
	p.Spec.Containers = []core.Container{{Name: "c"}}
	two := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "two"}}
	two.Spec.NodeName = "n1"
	two.Spec.Containers = []core.Container{{Name: "a"}, {Name: "b"}}
	two.Spec.InitContainers = []core.Container{{Name: "i"}}
	api.Put(n, p, two)
	return New(Deps{View: api.View(), Log: slog.New(slog.DiscardHandler), Kubelet: func(*core.Node) (string, http.RoundTripper, error) {
		return kubelet.URL, http.DefaultTransport, nil
	}}), api
}

func TestExec(t *testing.T) {
	s, _ := setup(t)
	conf := serve(t, s)
	kinds := map[string]func(*url.URL) (remotecommand.Executor, error){
		"websocket": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(conf, "GET", u.String())
		},
		"spdy": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(conf, "POST", u)
		},
	}
	for kind, executor := range kinds {
		t.Run(kind, func(t *testing.T) {
			run := func(in string, tty bool, cmd ...string) (string, string, error) {
				q := url.Values{"command": cmd, "stdin": {"true"}, "stdout": {"true"}, "stderr": {"true"}}
				if tty {
					q.Set("tty", "true")
				}
				u, err := url.Parse(conf.Host + "/api/v1/namespaces/default/pods/web/exec?" + q.Encode())
				if err != nil {
					t.Fatal(err)
				}
				e, err := executor(u)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				var out, errs bytes.Buffer
				o := remotecommand.StreamOptions{Stdin: strings.NewReader(in), Stdout: &out, Stderr: &errs, Tty: tty}
				if tty {
					o.Stderr, o.TerminalSizeQueue = nil, &sizes{}
				}
				err = e.StreamWithContext(ctx, o)
				return out.String(), errs.String(), err
			}
			big := strings.Repeat("0123456789", 100_000)
			if out, _, err := run(big, false, "cat"); err != nil || out != big {
				t.Errorf("cat: %d bytes, %v", len(out), err)
			}
			if out, _, err := run("", false, "echo", "a b"); err != nil || out != "web/c: echo a b" {
				t.Errorf("echo: %q, %v", out, err)
			}
			if out, _, err := run("", true, "size"); err != nil || out != "120x40" {
				t.Errorf("size: %q, %v", out, err)
			}
			_, errs, err := run("", false, "fail")
			var code interface{ ExitStatus() int }
			if !errors.As(err, &code) || code.ExitStatus() != 3 || errs != "no good" {
				t.Errorf("fail: %q, %v", errs, err)
			}
		})
	}
}

type sizes struct{ sent bool }

func (s *sizes) Next() *remotecommand.TerminalSize {
	if s.sent {
		return nil
	}
	s.sent = true
	return &remotecommand.TerminalSize{Width: 120, Height: 40}
}

func TestPortForward(t *testing.T) {
	s, _ := setup(t)
	conf := serve(t, s)
	u, err := url.Parse(conf.Host + "/api/v1/namespaces/default/pods/web/portforward")
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := portforward.NewSPDYOverWebsocketDialer(u, conf)
	if err != nil {
		t.Fatal(err)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	f, err := portforward.New(dialer, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.ForwardPorts() }()
	t.Cleanup(func() { close(stop); <-done })
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "hello from port 8080" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLogs(t *testing.T) {
	s, _ := setup(t)
	conf := serve(t, s)
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"web/log?tailLines=5&follow=true", 200, "log of /containerLogs/default/web/c follow=true&tailLines=5\n"},
		{"web/log?previous=true", 400, `previous terminated container \"c\" in pod \"web\" not found`},
		{"two/log", 400, `a container name must be specified for pod two, choose one of: [a b] or one of the init containers: [i]`},
		{"web/log?tailLines=x", 400, `strconv.ParseInt: parsing \"x\": invalid syntax`},
		{"none/log?sinceTime=bad", 400, `parsing time \"bad\"`},
		{"two/log?container=x", 400, `container x is not valid for pod two`},
		{"two/log?container=i", 200, "log of /containerLogs/default/two/i \n"},
		{"none/log", 404, `pods \"none\" not found`},
	} {
		code, body := get(t, conf.Host+"/api/v1/namespaces/default/pods/"+c.path)
		if code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want %d %s", c.path, code, body, c.code, c.want)
		}
	}
}

// What comes together with the end of a stream is not lost.
func TestEndApart(t *testing.T) {
	r := &endApart{r: iotest.DataErrReader(strings.NewReader("last words"))}
	p := make([]byte, 100)
	for _, want := range []struct {
		text string
		err  error
	}{{"last words", nil}, {"", io.EOF}, {"", io.EOF}} {
		if n, err := r.Read(p); string(p[:n]) != want.text || err != want.err {
			t.Errorf("got %q, %v; want %q, %v", p[:n], err, want.text, want.err)
		}
	}
}

func TestProxy(t *testing.T) {
	s, api := setup(t)
	var seen string
	backend := roundTrip(func(r *http.Request) (*http.Response, error) {
		seen = r.Method + " " + r.URL.String()
		if r.Header.Get("Authorization") != "" {
			t.Error("the API server's credentials went out")
		}
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`<a href="/next">next</a>`)),
			Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Request: r}, nil
	})
	s.Direct = backend
	port, name := int32(8080), "http"
	p := object.Clone(mustPod(t, api, "web"))
	p.Status.PodIP = "10.42.0.5"
	p.Spec.Containers[0].Ports = []core.ContainerPort{{ContainerPort: 8080}}
	api.Put(p,
		&core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: core.ServiceSpec{Ports: []core.ServicePort{{Name: name, Port: 80}}}},
		&core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "lonely"}, Spec: core.ServiceSpec{Ports: []core.ServicePort{{Port: 80}}}},
		&discovery.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discovery.LabelServiceName: "web"}},
			Endpoints: []discovery.Endpoint{{Addresses: []string{"10.42.0.5"}}}, Ports: []discovery.EndpointPort{{Name: &name, Port: &port}}},
	)
	conf := serve(t, s)
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"namespaces/default/pods/web/proxy/a/b?x=1", 200, "GET http://10.42.0.5:8080/a/b?x=1"},
		{"namespaces/default/pods/https:web:8443/proxy/", 200, "GET https://10.42.0.5:8443/"},
		{"namespaces/default/services/web/proxy/", 200, "GET http://10.42.0.5:8080/"},
		{"namespaces/default/services/web:http/proxy/x", 200, "GET http://10.42.0.5:8080/x"},
		{"namespaces/default/services/web:80/proxy/x", 200, "GET http://10.42.0.5:8080/x"},
		{"namespaces/default/services/lonely/proxy/", 503, ""},
		{"namespaces/default/pods/two/proxy/", 400, ""}, // it has no address
		{"nodes/n1/proxy/healthz", 200, ""},
	} {
		seen = ""
		code, body := get(t, conf.Host+"/api/v1/"+c.path)
		if code != c.code || seen != c.want {
			t.Errorf("%s: %d %s (%s), want %d %s", c.path, code, seen, body, c.code, c.want)
		}
		if base, _, _ := strings.Cut(c.path, "/proxy"); c.want != "" && !strings.Contains(body, `<a href="/api/v1/`+base+`/proxy/next">`) {
			t.Errorf("%s: the page has a link that leads past the proxy: %s", c.path, body)
		}
	}
	noFollow := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := noFollow.Get(conf.Host + "/api/v1/namespaces/default/pods/web/proxy")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 301 || resp.Header.Get("Location") != "/api/v1/namespaces/default/pods/web/proxy/" {
		t.Errorf("without slash: %d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func mustPod(t *testing.T, api *controltest.API, name string) *core.Pod {
	p, ok := client.Lookup[core.Pod](api.View(), object.Key{Namespace: "default", Name: name})
	if !ok {
		t.Fatalf("no pod %s", name)
	}
	return p
}

func get(t *testing.T, u string) (int, string) {
	req, err := http.NewRequest("GET", u, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
