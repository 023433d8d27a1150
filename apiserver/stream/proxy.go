package stream

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	proxyutil "k8s.io/apimachinery/pkg/util/proxy"

	"proa.dev/client"
	"proa.dev/kit/tunnel"
	"proa.dev/object"
)

func direct() http.RoundTripper {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, // a pod's certificate is its own affair
		TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second,
		DisableCompression: true,
	}
}

// splitName reads [scheme:]name[:port].
func splitName(s string) (scheme, name, port string, ok bool) {
	parts := strings.Split(s, ":")
	switch len(parts) {
	case 1:
		return "http", parts[0], "", true
	case 2:
		return "http", parts[0], parts[1], true
	case 3:
		if parts[0] == "" {
			parts[0] = "http"
		}
		return parts[0], parts[1], parts[2], parts[0] == "http" || parts[0] == "https"
	}
	return "", "", "", false
}

// send passes the request on to host, with the path that follows "/proxy". In HTML that comes back, paths of the host become paths here.
func (s *Streams) send(w http.ResponseWriter, r *http.Request, t client.Target, to *url.URL, rt http.RoundTripper) error {
	marker := "/" + t.Resource.Resource + "/" + t.Name + "/proxy"
	i := strings.Index(r.URL.Path, marker)
	if i < 0 {
		return apierrors.NewBadRequest("the path does not name what to proxy to")
	}
	rest := r.URL.Path[i+len(marker):]
	if rest == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		// relative links of the page need the slash
		u := *r.URL
		u.Path += "/"
		w.Header().Set("Location", u.String())
		w.WriteHeader(http.StatusMovedPermanently)
		return nil
	}
	to.Path = "/" + strings.TrimPrefix(rest, "/")
	to.RawQuery = r.URL.RawQuery
	if !tunnel.Asked(r) { // links of pages lead back through the proxy
		rt = &proxyutil.Transport{PathPrepend: r.URL.Path[:i+len(marker)], RoundTripper: rt}
	}
	s.forward(w, r, to, rt)
	return nil
}

// proxyable refuses addresses that a proxy with the server's place in the network must not reach.
func proxyable(ip string) error {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return apierrors.NewBadRequest("address not allowed")
	}
	if a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return apierrors.NewBadRequest("address not allowed")
	}
	return nil
}

func (s *Streams) podProxy(w http.ResponseWriter, r *http.Request, t client.Target) error {
	scheme, name, port, ok := splitName(t.Name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", t.Name))
	}
	p, found := client.Lookup[core.Pod](s.View, object.Key{Namespace: t.Namespace, Name: name})
	if !found {
		return apierrors.NewNotFound(t.GroupResource(), name)
	}
	if port == "" {
		for i := range p.Spec.Containers {
			if ports := p.Spec.Containers[i].Ports; len(ports) > 0 {
				port = strconv.Itoa(int(ports[0].ContainerPort))
				break
			}
		}
	}
	if err := proxyable(p.Status.PodIP); err != nil {
		return err
	}
	host := p.Status.PodIP
	if port != "" {
		host = net.JoinHostPort(host, port)
	}
	return s.send(w, r, t, &url.URL{Scheme: scheme, Host: host}, s.Direct)
}

func (s *Streams) serviceProxy(w http.ResponseWriter, r *http.Request, t client.Target) error {
	scheme, name, port, ok := splitName(t.Name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", t.Name))
	}
	svc, found := client.Lookup[core.Service](s.View, object.Key{Namespace: t.Namespace, Name: name})
	if !found {
		return apierrors.NewNotFound(t.GroupResource(), name)
	}
	portName, ok := servicePort(svc, port)
	if !ok {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, name))
	}
	var hosts []string
	for _, e := range client.ListOf[discovery.EndpointSlice](s.View, client.Select{Namespace: t.Namespace}) {
		if e.Labels[discovery.LabelServiceName] == name {
			hosts = append(hosts, readyHosts(e, portName)...)
		}
	}
	if len(hosts) == 0 {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	host := hosts[rand.IntN(len(hosts))]
	ip, _, err := net.SplitHostPort(host)
	if err != nil {
		return err
	}
	if err := proxyable(ip); err != nil {
		return err
	}
	return s.send(w, r, t, &url.URL{Scheme: scheme, Host: host}, s.Direct)
}

// servicePort is the name of the service's port that is meant by name or number; "" means its only one.
func servicePort(svc *core.Service, port string) (string, bool) {
	if port == "" {
		if len(svc.Spec.Ports) == 1 {
			return svc.Spec.Ports[0].Name, true
		}
		for _, p := range svc.Spec.Ports {
			if p.Name == "" {
				return "", true
			}
		}
		return "", false
	}
	for _, p := range svc.Spec.Ports {
		if p.Name == port || strconv.Itoa(int(p.Port)) == port {
			return p.Name, true
		}
	}
	return "", false
}

func readyHosts(e *discovery.EndpointSlice, port string) []string {
	var number int32
	for _, p := range e.Ports {
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		if name == port && p.Port != nil {
			number = *p.Port
		}
	}
	if number == 0 {
		return nil
	}
	var out []string
	for i := range e.Endpoints {
		ready := e.Endpoints[i].Conditions.Ready
		if len(e.Endpoints[i].Addresses) > 0 && (ready == nil || *ready) {
			out = append(out, net.JoinHostPort(e.Endpoints[i].Addresses[0], strconv.Itoa(int(number))))
		}
	}
	return out
}

func (s *Streams) nodeProxy(w http.ResponseWriter, r *http.Request, t client.Target) error {
	scheme, name, port, ok := splitName(t.Name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q", t.Name))
	}
	n, found := client.Lookup[core.Node](s.View, object.Key{Name: name})
	if !found {
		return apierrors.NewNotFound(t.GroupResource(), name)
	}
	own := strconv.Itoa(int(n.Status.DaemonEndpoints.KubeletEndpoint.Port))
	if port == "" || port == own {
		to, rt, err := s.kubelet(name)
		if err != nil {
			return err
		}
		return s.send(w, r, t, to, rt)
	}
	for _, a := range n.Status.Addresses {
		if a.Type != core.NodeInternalIP {
			continue
		}
		if err := proxyable(a.Address); err != nil {
			return err
		}
		return s.send(w, r, t, &url.URL{Scheme: scheme, Host: net.JoinHostPort(a.Address, port)}, s.Direct)
	}
	return apierrors.NewServiceUnavailable(fmt.Sprintf("node %q has no address", name))
}
