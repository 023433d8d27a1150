package aggregate_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"proa.dev/apiserver"
	"proa.dev/apiserver/aggregate"
	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/kinds/apiregistration"
	"proa.dev/object"
	"proa.dev/pki"
)

const name = "v1alpha1.toys.example.com"

// extension is a small API server that trusts the front proxy only.
type extension struct {
	*httptest.Server
	ca   []byte
	down chan struct{} // closed: it answers 500
	way  *aggregate.Aggregator
}

func startExtension(t *testing.T, cluster *pki.Cluster) *extension {
	e := &extension{down: make(chan struct{})}
	cert, key, err := cluster.Server([]string{"toys.shop.svc"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	e.ca = cluster.CAPEM()
	proxies := x509.NewCertPool()
	proxies.AppendCertsFromPEM(cluster.FrontProxyCAPEM())
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(e.serve))
	e.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: proxies}
	e.EnableHTTP2 = true
	e.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	e.StartTLS()
	t.Cleanup(e.Close)
	return e
}

func (e *extension) serve(w http.ResponseWriter, r *http.Request) {
	select {
	case <-e.down:
		http.Error(w, "down", http.StatusInternalServerError)
		return
	default:
	}
	const base = "/apis/toys.example.com/v1alpha1"
	say := func(contentType, body string) {
		w.Header().Set("Content-Type", contentType)
		fmt.Fprint(w, body)
	}
	switch path := r.URL.Path; {
	case path == "/apis" && strings.Contains(r.Header.Get("Accept"), "APIGroupDiscoveryList"):
		say("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{"name":"toys.example.com"},"versions":[`+
			`{"version":"v1alpha1","resources":[{"resource":"bricks","responseKind":{"group":"toys.example.com","version":"v1alpha1","kind":"Brick"},"scope":"Namespaced","singularResource":"brick","verbs":["delete","get","list","watch"]},`+
			`{"resource":"kilns","responseKind":{"group":"toys.example.com","version":"v1alpha1","kind":"Kiln"},"scope":"Cluster","singularResource":"kiln","verbs":["get","list"]}]}]}]}`)
	case path == base:
		say("application/json", `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"toys.example.com/v1alpha1","resources":[{"name":"bricks","namespaced":true,"kind":"Brick","verbs":["list"]}]}`)
	case path == "/openapi/v2":
		say("application/json", `{"swagger":"2.0","info":{"title":"toys","version":"1"},"paths":{"`+base+`/bricks":{"get":{"responses":{"200":{"description":"ok","schema":{"$ref":"#/definitions/com.example.Brick"}}}}},"/apis/other/v1":{}},`+
			`"definitions":{"com.example.Brick":{"type":"object","properties":{"next":{"$ref":"#/definitions/com.example.Brick"}}}}}`)
	case path == "/openapi/v3":
		say("application/json", `{"paths":{"apis/toys.example.com/v1alpha1":{"serverRelativeURL":"/openapi/v3/apis/toys.example.com/v1alpha1?hash=7"}}}`)
	case path == "/openapi/v3"+base:
		say("application/json", `{"openapi":"3.0.0","info":{"title":"toys","version":"1"},"paths":{}}`)
	case strings.HasSuffix(path, "/whoami"):
		b, err := json.Marshal(map[string]any{"header": r.Header, "query": r.URL.RawQuery, "method": r.Method, "protocol": r.Proto})
		if err != nil {
			panic(err)
		}
		say("application/json", string(b))
	case strings.HasSuffix(path, "/away"):
		http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusFound)
	case strings.HasSuffix(path, "/bricks") && r.URL.Query().Get("watch") != "":
		for i := range 3 {
			fmt.Fprintf(w, "{\"type\":\"ADDED\",\"n\":%d}\n", i)
			http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	case strings.HasSuffix(path, "/talk") && r.Header.Get("Upgrade") == "echo":
		e.talk(w, r)
	default:
		http.NotFound(w, r)
	}
}

// talk upgrades the connection and echoes one line, with the user before it.
func (e *extension) talk(w http.ResponseWriter, r *http.Request) {
	c, in, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer c.Close()
	fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if line, err := in.ReadString('\n'); err == nil {
		fmt.Fprintf(c, "%s said %s", r.Header.Get("X-Remote-User"), line)
	}
}

// start is an API server with an extension server for toys.example.com/v1alpha1 in a service, but no APIService yet.
func start(t *testing.T) (*apitest.Server, *extension) {
	cluster, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	front, err := cluster.RotatingFrontProxy(pki.Leaf{Name: "front-proxy-client", Client: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := startExtension(t, cluster)
	a := aggregate.New(aggregate.Config{Certificate: front.GetClientCertificate, Resolve: func(v client.View, key object.Key, _ int32) (string, error) {
		if key != (object.Key{Namespace: "shop", Name: "toys"}) {
			return "", fmt.Errorf("no such service")
		}
		return e.Listener.Addr().String(), nil
	}})
	e.way = a
	s := apitest.Start(t, func(d *apiserver.Deps) { d.Discovery, d.OpenAPI, d.Elsewhere = a.Discovery, a.OpenAPI, a })
	must(t)(client.Create(t.Context(), s.Client, &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}))
	return s, e
}

func must(t *testing.T) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func register(t *testing.T, s *apitest.Server, ca []byte) {
	t.Helper()
	must(t)(client.Create(t.Context(), s.Client, &registration.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: registration.APIServiceSpec{Group: "toys.example.com", Version: "v1alpha1", CABundle: ca, GroupPriorityMinimum: 2000, VersionPriority: 15,
			Service: &registration.ServiceReference{Namespace: "shop", Name: "toys"}},
	}))
}

func makeService(t *testing.T, s *apitest.Server) {
	t.Helper()
	must(t)(client.Create(t.Context(), s.Client, &core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "toys"},
		Spec: core.ServiceSpec{Ports: []core.ServicePort{{Port: 443, Name: "https"}}}}))
}

func makeEndpoints(t *testing.T, s *apitest.Server) {
	t.Helper()
	must(t)(client.Create(t.Context(), s.Client, &discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "toys-1", Labels: map[string]string{discovery.LabelServiceName: "toys"}},
		AddressType: discovery.AddressTypeIPv4, Endpoints: []discovery.Endpoint{{Addresses: []string{"10.42.0.7"}}},
		Ports: []discovery.EndpointPort{{Name: ptr.To("https"), Port: ptr.To[int32](8443)}},
	}))
}

// await waits until the condition Available says this.
func await(t *testing.T, s *apitest.Server, reason string) registration.APIServiceCondition {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got registration.APIServiceCondition
	err := client.Watch(ctx, s.View(), func(_ client.EventType, now, _ *registration.APIService) {
		if now == nil || now.Name != name {
			return
		}
		if c := apiregistration.Condition(now, registration.Available); c != nil {
			if got = *c; c.Reason == reason {
				cancel()
			}
		}
	})
	if got.Reason != reason {
		t.Fatalf("got %+v, want reason %s (%v)", got, reason, err)
	}
	return got
}

func get(t *testing.T, s *apitest.Server, path string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
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

const whoami = "/apis/toys.example.com/v1alpha1/namespaces/shop/bricks/whoami"

func TestConditions(t *testing.T) {
	s, e := start(t)
	if code, _ := get(t, s, whoami); code != 404 {
		t.Errorf("without an APIService: got %d, want 404", code)
	}
	register(t, s, e.ca)
	if c := await(t, s, "ServiceNotFound"); c.Message != `service/toys in "shop" is not present` || c.Status != registration.ConditionFalse {
		t.Errorf("got %+v", c)
	}
	if code, body := get(t, s, whoami); code != 503 || body != "service unavailable\n" {
		t.Errorf("got %d %q, want 503", code, body)
	}
	if code, body := get(t, s, "/apis/toys.example.com/v1alpha1"); code != 503 || body != "service unavailable\n" {
		t.Errorf("resources: got %d %q, want 503", code, body)
	}
	makeService(t, s)
	if c := await(t, s, "EndpointsNotFound"); c.Message != `cannot find endpointslices for service/toys in "shop"` {
		t.Errorf("got %q", c.Message)
	}
	makeEndpoints(t, s)
	if c := await(t, s, "Passed"); c.Message != "all checks passed" || c.Status != registration.ConditionTrue {
		t.Errorf("got %+v", c)
	}
	resources(t, e, "bricks")
	close(e.down)
	must(t)(nil, client.Delete[discovery.EndpointSlice](t.Context(), s.Client, object.Key{Namespace: "shop", Name: "toys-1"}, ""))
	makeEndpoints(t, s)
	if c := await(t, s, "FailedDiscoveryCheck"); !strings.HasPrefix(c.Message, "failing or missing response from https://") || !strings.HasSuffix(c.Message, ": 500") {
		t.Errorf("got %q", c.Message)
	}
	if _, body := get(t, s, "/apis", "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"); !strings.Contains(body, `"freshness":"Stale"`) {
		t.Error("discovery does not say that it may be wrong")
	}
	resources(t, e, "unknown toys.example.com/v1alpha1")
	must(t)(nil, client.Delete[registration.APIService](t.Context(), s.Client, object.Key{Name: name}, ""))
	eventually(t, func() error {
		if code, _ := get(t, s, whoami); code != 404 {
			return fmt.Errorf("after the delete: got %d, want 404", code)
		}
		return nil
	})
	resources(t, e)
}

// resources waits until the aggregator knows of these and no others: kilns cannot be watched.
func resources(t *testing.T, e *extension, want ...string) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		changed := e.way.Changed()
		list, unknown := e.way.Resources()
		var got []string
		for _, r := range list {
			got = append(got, r.Resource)
		}
		for _, gv := range unknown {
			got = append(got, "unknown "+gv.String())
		}
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("got resources %v, want %v", got, want)
		}
	}
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for range 200 {
		if err = f(); err == nil {
			return
		}
		select {
		case <-t.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Error(err)
}

func serve(t *testing.T) *apitest.Server {
	t.Helper()
	s, e := start(t)
	makeService(t, s)
	makeEndpoints(t, s)
	register(t, s, e.ca)
	await(t, s, "Passed")
	return s
}

func TestWhoAsks(t *testing.T) {
	s := serve(t)
	code, body := get(t, s, whoami+"?a=b%2Fc&fieldSelector=x%3Dy", "Authorization", "Bearer bob,dev,ops", "X-Remote-User", "root", "X-Remote-Extra-Evil", "yes")
	var got struct {
		Header   http.Header
		Query    string
		Protocol string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Fatalf("got %d %s", code, body)
	}
	if u, g := got.Header.Values("X-Remote-User"), got.Header.Values("X-Remote-Group"); fmt.Sprint(u, g) != "[bob] [dev ops system:authenticated]" {
		t.Errorf("got user %v in %v", u, g)
	}
	for _, h := range []string{"Authorization", "X-Remote-Extra-Evil", "Impersonate-User"} {
		if got.Header.Get(h) != "" {
			t.Errorf("%s has come through", h)
		}
	}
	if got.Query != "a=b%2Fc&fieldSelector=x%3Dy" || got.Protocol != "HTTP/2.0" {
		t.Errorf("got query %s by %s", got.Query, got.Protocol)
	}
	if code, body := get(t, s, "/apis/toys.example.com/v1alpha1/away"); code != 502 || !strings.Contains(body, "attempted to redirect") {
		t.Errorf("a redirection: got %d %s", code, body)
	}
	code, body = get(t, s, whoami, "Impersonate-User", "eve", "Impersonate-Extra-Scopes", "a", "Impersonate-Extra-Scopes%2fB", "c")
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Fatalf("got %d %s", code, body)
	}
	if got.Header.Get("X-Remote-User") != "eve" || got.Header.Get("X-Remote-Extra-Scopes%2Fb") != "c" {
		t.Errorf("got %v", got.Header)
	}
}

func TestMerged(t *testing.T) {
	s := serve(t)
	eventually(t, func() error {
		_, body := get(t, s, "/apis", "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
		if !strings.Contains(body, `"resource":"bricks"`) || strings.Contains(body, "Stale") {
			return fmt.Errorf("the newer form has no bricks: %s", body[len(body)-300:])
		}
		return nil
	})
	var groups metav1.APIGroupList
	_, body := get(t, s, "/apis")
	if err := json.Unmarshal([]byte(body), &groups); err != nil {
		t.Fatal(err)
	}
	if last := groups.Groups[len(groups.Groups)-1]; last.Name != "toys.example.com" || last.PreferredVersion.Version != "v1alpha1" {
		t.Errorf("the last group is %+v", last)
	}
	if code, body := get(t, s, "/apis/toys.example.com"); code != 200 || !strings.Contains(body, "v1alpha1") {
		t.Errorf("the group: got %d %s", code, body)
	}
	if code, body := get(t, s, "/apis/toys.example.com/v1alpha1"); code != 200 || !strings.Contains(body, "bricks") {
		t.Errorf("the version: got %d %s", code, body)
	}
	_, body = get(t, s, "/openapi/v3")
	if !strings.Contains(body, `"apis/toys.example.com/v1alpha1":{"serverRelativeURL":"/openapi/v3/apis/toys.example.com/v1alpha1?hash=7"}`) {
		t.Error("the index of OpenAPI 3 has no toys")
	}
	if code, body := get(t, s, "/openapi/v3/apis/toys.example.com/v1alpha1?hash=7"); code != 200 || !strings.Contains(body, `"title":"toys"`) {
		t.Errorf("OpenAPI 3: got %d %s", code, body)
	}
	_, body = get(t, s, "/openapi/v2")
	if !strings.Contains(body, "com.example.Brick") || !strings.Contains(body, "/v1alpha1/bricks") || strings.Contains(body, "/apis/other") {
		t.Error("OpenAPI 2 is not merged")
	}
}

func TestStreams(t *testing.T) {
	s := serve(t)
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/apis/toys.example.com/v1alpha1/bricks?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for i := range 3 { // while the watch goes on
		if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, fmt.Sprint(i)) {
			t.Fatalf("event %d: %q %v", i, line, err)
		}
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "GET /apis/toys.example.com/v1alpha1/namespaces/shop/bricks/a/talk HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\nAuthorization: Bearer bob\r\n\r\nhello\n")
	back := bufio.NewReader(c)
	up, err := http.ReadResponse(back, nil)
	if err != nil || up.StatusCode != 101 {
		t.Fatalf("got %+v, %v", up, err)
	}
	if line, err := back.ReadString('\n'); err != nil || line != "bob said hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestLocalVersionsAreRegistered(t *testing.T) {
	s := apitest.Start(t)
	eventually(t, func() error {
		apps, ok := client.Lookup[registration.APIService](s.View(), object.Key{Name: "v1.apps"})
		if !ok {
			return fmt.Errorf("there is no v1.apps")
		}
		c := apiregistration.Condition(apps, registration.Available)
		if apps.Spec.GroupPriorityMinimum != 17800 || apps.Labels["kube-aggregator.kubernetes.io/automanaged"] != "onstart" || c == nil || c.Reason != "Local" {
			return fmt.Errorf("got %+v", apps)
		}
		if _, ok := client.Lookup[registration.APIService](s.View(), object.Key{Name: "v1."}); !ok {
			return fmt.Errorf("there is no v1.")
		}
		return nil
	})
	if _, err := client.Get[registration.APIService](t.Context(), s.Client, object.Key{Name: "v1.apiregistration.k8s.io"}); !apierrors.IsNotFound(err) {
		t.Errorf("apiregistration.k8s.io is registered: %v", err)
	}
}
