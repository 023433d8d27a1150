package webhook

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"proa.dev/client"
	"proa.dev/object"
)

// objects is a View of a few objects.
type objects []object.Object

func (v objects) Lookup(r client.Resource, key object.Key) (object.Object, bool) {
	for _, o := range v.List(r, client.Select{Namespace: key.Namespace}) {
		if o.GetName() == key.Name {
			return o, true
		}
	}
	return nil, false
}

func (v objects) List(r client.Resource, sel client.Select) (out []object.Object) {
	for _, o := range v {
		if object.ResourceFor(object.KindOf(o)) == r && (sel.Namespace == "" || sel.Namespace == o.GetNamespace()) {
			out = append(out, o)
		}
	}
	return out
}

func (objects) Watch(ctx context.Context, _ client.Resource, _ func(client.Event)) error {
	<-ctx.Done()
	return ctx.Err()
}

func (objects) Resources() []object.Resource { return nil }

func service(name string, spec core.ServiceSpec) *core.Service {
	return &core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}, Spec: spec}
}

func endpoints(name, service, port string, number int32, addresses map[string]bool) *discovery.EndpointSlice {
	e := &discovery.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, Labels: map[string]string{discovery.LabelServiceName: service}},
		AddressType: discovery.AddressTypeIPv4, Ports: []discovery.EndpointPort{{Name: &port, Port: &number}}}
	for a, is := range addresses {
		if strings.Contains(a, ":") {
			e.AddressType = discovery.AddressTypeIPv6
		}
		e.Endpoints = append(e.Endpoints, discovery.Endpoint{Addresses: []string{a}, Conditions: discovery.EndpointConditions{Ready: ptr.To(is)}})
	}
	return e
}

func TestResolve(t *testing.T) {
	ports := []core.ServicePort{{Name: "x", Port: 80}, {Name: "https", Port: 443}}
	view := objects{
		service("ready", core.ServiceSpec{Ports: ports, ClusterIP: "10.0.0.1", IPFamilies: []core.IPFamily{core.IPv6Protocol}}),
		endpoints("ready-4", "ready", "https", 8443, map[string]bool{"10.1.0.1": true}),
		endpoints("ready-6", "ready", "https", 9443, map[string]bool{"fd00::1": true, "fd00::2": false}),
		service("none", core.ServiceSpec{Ports: ports, ClusterIP: "10.0.0.2"}),
		endpoints("none-1", "none", "https", 8443, map[string]bool{"10.1.0.1": false}),
		service("foreign", core.ServiceSpec{Ports: ports, ClusterIP: "10.0.0.3"}),
		service("headless", core.ServiceSpec{Ports: ports, ClusterIP: core.ClusterIPNone}),
		service("external", core.ServiceSpec{Type: core.ServiceTypeExternalName, ExternalName: "hooks.example.org"}),
	}
	for _, tt := range []struct {
		name, want, err string
		port            int32
	}{
		{"ready", "[fd00::1]:9443", "", 443},
		{"ready", "", `no service port 444 found for service "ready"`, 444},
		{"none", "", `no endpoints available for service "none"`, 443},
		{"foreign", "10.0.0.3:443", "", 443},
		{"headless", "", `no endpoints available for service "headless"`, 443},
		{"external", "hooks.example.org:443", "", 443},
		{"missing", "", `service "missing" not found`, 443},
	} {
		got, err := resolve(view, "n", tt.name, tt.port)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != tt.want || text != tt.err {
			t.Errorf("%s:%d: got %q, %q; want %q, %q", tt.name, tt.port, got, text, tt.want, tt.err)
		}
	}
}

// serve is a webhook that answers by do, and its certificate.
func serve(t *testing.T, do http.HandlerFunc) (*httptest.Server, []byte) {
	t.Helper()
	s := httptest.NewTLSServer(do)
	t.Cleanup(s.Close)
	return s, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func TestPost(t *testing.T) {
	var query string
	s, ca := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		query = r.URL.RawQuery
		switch r.URL.Path {
		case "/ok":
			w.Write(append([]byte("got "), b...))
		case "/text":
			http.Error(w, "out of order", http.StatusInternalServerError)
		case "/status":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"my own","code":503}`)
		case "/json":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadGateway)
			io.WriteString(w, `{}`)
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		}
	})
	c := New(objects{})
	ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
	defer cancel()
	for path, want := range map[string]string{
		"/ok":      "got {}",
		"/text":    `an error on the server ("out of order") has prevented the request from succeeding`,
		"/status":  "my own",
		"/json":    `an error on the server ("unknown") has prevented the request from succeeding`,
		"/missing": "the server could not find the requested resource",
		"/empty":   "0-length response with status code: 200 and content type: ",
	} {
		got, err := c.Post(ctx, Config{URL: s.URL + path, CA: ca}, []byte("{}"))
		text := string(got)
		if err != nil {
			text = err.Error()
		}
		if text != want {
			t.Errorf("%s: got %q, want %q", path, text, want)
		}
	}
	if query != "timeout=10s" {
		t.Errorf("the webhook is told %q", query)
	}
	if _, err := c.Post(ctx, Config{URL: s.URL + "/ok"}, nil); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("without its authority: %v", err)
	}
	var config *ErrConfig
	_, err := c.Post(ctx, Config{URL: s.URL + "/ok", CA: []byte("x")}, nil)
	if !errors.As(err, &config) || err.Error() != "unable to load root certificates: unable to parse bytes as PEM block" {
		t.Errorf("with a bad authority: %v", err)
	}
	if n := len(c.all); n != 7 {
		t.Errorf("%d connections are kept, want 7", n)
	}
}

// The certificate of a service is for its name in the cluster, wherever it is dialled.
func TestPostToService(t *testing.T) {
	s, ca := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host+r.URL.Path+" "+r.Proto) })
	at := netip.MustParseAddrPort(s.Listener.Addr().(*net.TCPAddr).String())
	view := objects{
		service("hook", core.ServiceSpec{Ports: []core.ServicePort{{Port: 443}}}),
		endpoints("hook-1", "hook", "", int32(at.Port()), map[string]bool{at.Addr().String(): true}),
	}
	c := New(view)
	config := Config{Service: &Service{Namespace: "n", Name: "hook", Path: "check"}, CA: ca}
	if _, err := c.Post(t.Context(), config, nil); err == nil || !strings.Contains(err.Error(), "not hook.n.svc") {
		t.Errorf("a certificate for another name: %v", err)
	}
	k := key{ca: string(ca), service: *config.Service}
	c.all[k].http.Transport.(*http.Transport).TLSClientConfig.ServerName = "example.com" // whom the test's certificate is for
	got, err := c.Post(t.Context(), config, nil)
	if err != nil || string(got) != "hook.n.svc:443/check HTTP/1.1" {
		t.Errorf("got %q, %v", got, err)
	}
	config.Service.Name = "gone"
	if _, err = c.Post(t.Context(), config, nil); !apierrors.IsNotFound(err) || !strings.HasSuffix(err.Error(), `service "gone" not found`) {
		t.Errorf("a missing service: %v", err)
	}
}
