package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kit/roottest"
	"proa.dev/network/cni"
	"proa.dev/network/nettest"
	"proa.dev/network/nft"
	"proa.dev/network/route"
	"proa.dev/object"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }

var (
	podRanges     = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/56")}
	serviceRanges = []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("fd43::/112")}
)

// cluster is one node: the namespace of the tests with pods, a proxy, and a client outside at 192.168.77.2.
type cluster struct {
	t    testing.TB
	view *nettest.View
	cni  *cni.Plugin
	lan  *nettest.NS
	pods map[string]*pod
	link string
	stop func()
}

type pod struct {
	cni.Pod
	*nettest.NS
	addrs []netip.Addr
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	roottest.Need(t, "makes links, namespaces and rules")
	r, err := route.New(route.Config{Pods: podRanges, Services: serviceRanges, OwnLinks: []string{"proatest0"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := cni.New(cni.Config{Bridge: "proatest0", StateDir: t.TempDir(), ClusterCIDRs: podRanges, ServiceCIDRs: serviceRanges,
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.7.0/24"), netip.MustParsePrefix("fd42:0:0:7::/64")}})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, view: nettest.NewView(), cni: p, lan: nettest.New(t), pods: map[string]*pod{}, link: "proatest0"}
	nettest.Join(t, nil, "lan0", "192.168.77.1/24", c.lan, "lan0", "192.168.77.2/24")
	c.lan.Route(t, "10.43.0.0/16", "192.168.77.1")
	c.run()
	t.Cleanup(func() {
		c.stop()
		ctx := context.Background()
		if err := errors.Join(p.Cleanup(ctx), Cleanup(ctx), r.Cleanup(ctx)); err != nil {
			t.Error(err)
		}
		if left, err := Leftovers(); err != nil || len(left) > 0 {
			t.Errorf("left over: %v, %v", left, err)
		}
		p.Close()
		r.Close()
	})
	return c
}

// run starts a proxy and waits until it has done its first work; stop ends it.
func (c *cluster) run() {
	c.t.Helper()
	p, err := New(Deps{View: c.view, NodeName: "node", PodCIDRs: podRanges, ServiceCIDRs: serviceRanges, Link: c.link})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	select {
	case <-p.Synced():
	case err := <-done:
		c.t.Fatalf("Run: %v", err)
	case <-time.After(5 * time.Second):
		c.t.Fatal("no first sync in 5 s")
	}
	c.stop = func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			c.t.Errorf("Run: %v", err)
		}
		p.Close()
	}
}

// pod makes a pod that answers TCP and UDP on port 80 with "name from client".
func (c *cluster) pod(name string) *pod {
	c.t.Helper()
	p := &pod{NS: nettest.New(c.t), Pod: cni.Pod{ID: name, Name: name, Namespace: "default"}}
	p.NetNS = p.Path()
	var err error
	if p.addrs, err = c.cni.Attach(c.t.Context(), p.Pod); err != nil {
		c.t.Fatal(err)
	}
	serve(c.t, p.NS, name)
	c.pods[name] = p
	return p
}

func serve(t testing.TB, ns *nettest.NS, name string) {
	l := ns.Listen(t, ":80")
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			fmt.Fprintf(conn, "%s from %s", name, host)
			conn.Close()
		}
	}()
	u := ns.ListenUDP(t, ":80")
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(from.String())
			u.WriteTo([]byte(name+" from "+host), from)
		}
	}()
}

// service makes a Service with one TCP and one UDP port 80.
func service(name string, ips ...string) *core.Service {
	return &core.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: core.ServiceSpec{Type: core.ServiceTypeClusterIP, ClusterIP: ips[0], ClusterIPs: ips, Ports: []core.ServicePort{
			{Name: "http", Protocol: core.ProtocolTCP, Port: 80}, {Name: "udp", Protocol: core.ProtocolUDP, Port: 80}}},
	}
}

// endpoint makes one endpoint on the node with this name.
func endpoint(addr, node string, ready bool) discovery.Endpoint {
	e := discovery.Endpoint{Addresses: []string{addr}, Conditions: discovery.EndpointConditions{Ready: &ready}}
	if node != "" {
		e.NodeName = &node
	}
	return e
}

func slice(svc string, eps ...discovery.Endpoint) *discovery.EndpointSlice {
	tcp, udp, port := core.ProtocolTCP, core.ProtocolUDP, int32(80)
	http, dgram := "http", "udp"
	s := &discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: svc + "-v4", Labels: map[string]string{discovery.LabelServiceName: svc}},
		AddressType: discovery.AddressTypeIPv4, Endpoints: eps,
		Ports: []discovery.EndpointPort{{Name: &http, Protocol: &tcp, Port: &port}, {Name: &dgram, Protocol: &udp, Port: &port}},
	}
	if len(eps) > 0 && strings.Contains(eps[0].Addresses[0], ":") {
		s.Name, s.AddressType = svc+"-v6", discovery.AddressTypeIPv6
	}
	return s
}

// endpoints puts the slices of these pods into the View.
func (c *cluster) endpoints(svc string, pods ...*pod) {
	var v4, v6 []discovery.Endpoint
	for _, p := range pods {
		v4 = append(v4, endpoint(p.addrs[0].String(), "node", true))
		v6 = append(v6, endpoint(p.addrs[1].String(), "node", true))
	}
	c.view.Put(slice(svc, v4...))
	if len(v6) > 0 {
		c.view.Put(slice(svc, v6...))
	}
}

// ask sends one request from a namespace (nil is the node) and returns the answer.
func (c *cluster) ask(ns *nettest.NS, network, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
	defer cancel()
	dial := new(net.Dialer).DialContext
	if ns != nil {
		dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return ns.Dial(ctx, network, addr, netip.Addr{})
		}
	}
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	if network == "udp" {
		conn.Write([]byte("?"))
		buf := make([]byte, 128)
		n, err := conn.Read(buf)
		return string(buf[:n]), err
	}
	raw, err := io.ReadAll(conn)
	return string(raw), err
}

// want asks until the answer is as wanted, for at most three seconds.
func (c *cluster) want(ns *nettest.NS, network, addr, want string) {
	c.t.Helper()
	var got string
	var err error
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		if got, err = c.ask(ns, network, addr); err == nil && got == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Errorf("asked %s %s: got %q, %v, want %q", network, addr, got, err, want)
}

// wantRefused asks until the answer is "connection refused", at once rather than by a timeout.
func (c *cluster) wantRefused(ns *nettest.NS, network, addr string) {
	c.t.Helper()
	var got string
	var err error
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		if got, err = c.ask(ns, network, addr); errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Errorf("asked %s %s: got %q, %v, want connection refused", network, addr, got, err)
}

// wantEndpoint waits until the kernel knows the pod as an endpoint of something.
func (c *cluster) wantEndpoint(p *pod) {
	c.t.Helper()
	conn, err := nft.Open()
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		have, err := conn.Elements(nft.Table{Family: nft.IPv6, Name: tableName}, endpointsMap)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, e := range have {
			if a, ok := nft.AddrAt(nft.IPv6, e.Val, 0); ok && a == p.addrs[1] {
				return
			}
		}
	}
	c.t.Errorf("%s did not become an endpoint", p.Name)
}

// wantSilence asks until no answer comes, not even a refusal.
func (c *cluster) wantSilence(ns *nettest.NS, addr string) {
	c.t.Helper()
	var got string
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		got, err = c.ask(ns, "tcp", addr)
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			return
		}
	}
	c.t.Errorf("asked %s: got %q, %v, want silence", addr, got, err)
}

// spread asks n times and counts the answers by name of the pod.
func (c *cluster) spread(ns *nettest.NS, addr string, n int) map[string]int {
	c.t.Helper()
	out := map[string]int{}
	for range n {
		got, err := c.ask(ns, "tcp", addr)
		if err != nil {
			c.t.Fatalf("asked %s: %v", addr, err)
		}
		name, _, _ := strings.Cut(got, " ")
		out[name]++
	}
	return out
}

func TestClusterIP(t *testing.T) {
	c := newCluster(t)
	a, b, client := c.pod("a"), c.pod("b"), c.pod("client")
	c.view.Put(service("web", "10.43.0.9", "fd43::9"))
	c.wantRefused(client.NS, "tcp", "10.43.0.9:80")
	c.wantRefused(nil, "tcp", "10.43.0.9:80")
	c.wantRefused(nil, "udp", "10.43.0.9:80")

	c.endpoints("web", a)
	for _, proto := range []string{"tcp", "udp"} {
		for i, addr := range []string{"10.43.0.9:80", "[fd43::9]:80"} {
			c.want(client.NS, proto, addr, "a from "+client.addrs[i].String()) // a pod keeps its address
			c.want(a.NS, proto, addr, "a from "+[]string{"10.42.7.1", "fd42:0:0:7::1"}[i])
			c.want(nil, proto, addr, "a from "+[]string{"10.42.7.1", "fd42:0:0:7::1"}[i])
		}
	}
	c.want(c.lan, "tcp", "10.43.0.9:80", "a from 10.42.7.1") // a stranger is masqueraded

	c.endpoints("web", a, b)
	c.want(client.NS, "tcp", "10.43.0.9:80", "b from "+client.addrs[0].String())
	got := c.spread(client.NS, "10.43.0.9:80", 60)
	if got["a"] < 10 || got["b"] < 10 {
		t.Errorf("spread over endpoints: %v", got)
	}
	c.wantRefused(client.NS, "tcp", "10.43.0.9:81")
	c.wantRefused(client.NS, "tcp", "10.43.0.77:80")

	c.endpoints("web", b)
	for range 20 {
		c.want(client.NS, "tcp", "10.43.0.9:80", "b from "+client.addrs[0].String())
	}
	c.view.Take(service("web", "10.43.0.9"))
	c.wantRefused(client.NS, "tcp", "10.43.0.9:80")
}

// TestEndpointOnTheNode is the Service "kubernetes": its endpoint is a process of the node itself.
func TestEndpointOnTheNode(t *testing.T) {
	c := newCluster(t)
	client := c.pod("client")
	l, err := net.Listen("tcp", "192.168.77.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			fmt.Fprintf(conn, "node from %s", host)
			conn.Close()
		}
	}()
	svc := service("kubernetes", "10.43.0.1")
	svc.Spec.Type, svc.Spec.Ports[0].NodePort = core.ServiceTypeNodePort, 30443
	c.view.Put(svc)
	c.view.Put(slice("kubernetes", endpoint("192.168.77.1", "", true)))
	c.want(client.NS, "tcp", "10.43.0.1:80", "node from "+client.addrs[0].String())
	c.want(nil, "tcp", "10.43.0.1:80", "node from 10.42.7.1")
	c.want(nil, "tcp", "127.0.0.1:30443", "node from 10.42.7.1")
	c.want(c.lan, "tcp", "192.168.77.1:30443", "node from 192.168.77.2")
}

func TestNodePortAndExternalIP(t *testing.T) {
	c := newCluster(t)
	a, b, client := c.pod("a"), c.pod("b"), c.pod("client")
	svc := service("web", "10.43.0.9", "fd43::9")
	svc.Spec.Type = core.ServiceTypeNodePort
	svc.Spec.Ports[0].NodePort, svc.Spec.Ports[1].NodePort = 30080, 30080
	svc.Spec.ExternalIPs = []string{"192.168.99.9"}
	c.lan.Route(t, "192.168.99.0/24", "192.168.77.1")
	c.endpoints("web", a)
	c.view.Put(svc)
	for _, proto := range []string{"tcp", "udp"} {
		c.want(c.lan, proto, "192.168.77.1:30080", "a from 10.42.7.1")
		c.want(c.lan, proto, "192.168.99.9:80", "a from 10.42.7.1")
		c.want(nil, proto, "127.0.0.1:30080", "a from 10.42.7.1")
		c.want(nil, proto, "192.168.77.1:30080", "a from 10.42.7.1")
		c.want(client.NS, proto, "192.168.77.1:30080", "a from 10.42.7.1")
		c.want(a.NS, proto, "192.168.77.1:30080", "a from 10.42.7.1")
	}
	c.want(nil, "tcp", "[fd42:0:0:7::1]:30080", "a from fd42:0:0:7::1")

	svc = object.Clone(svc)
	svc.Spec.ExternalTrafficPolicy = core.ServiceExternalTrafficPolicyLocal
	c.view.Put(svc)
	c.want(c.lan, "tcp", "192.168.77.1:30080", "a from 192.168.77.2") // the client's own address
	c.want(nil, "tcp", "127.0.0.1:30080", "a from 10.42.7.1")
	c.view.Put(slice("web", endpoint(a.addrs[0].String(), "node", true), endpoint(b.addrs[0].String(), "other", true)))
	c.want(client.NS, "tcp", "192.168.77.1:30080", "b from "+client.addrs[0].String()) // pods may go anywhere
	if got := c.spread(c.lan, "192.168.77.1:30080", 20); got["b"] > 0 {
		t.Errorf("traffic from outside left the node: %v", got)
	}
	c.view.Put(slice("web", endpoint(b.addrs[0].String(), "other", true)))
	c.want(client.NS, "tcp", "10.43.0.9:80", "b from "+client.addrs[0].String())
	c.wantSilence(c.lan, "192.168.77.1:30080")
	c.endpoints("web")
	c.wantRefused(c.lan, "tcp", "192.168.77.1:30080")
	c.wantRefused(nil, "tcp", "127.0.0.1:30080")
}

func TestAffinity(t *testing.T) {
	c := newCluster(t)
	a, b, client := c.pod("a"), c.pod("b"), c.pod("client")
	svc := service("web", "10.43.0.9", "fd43::9")
	svc.Spec.SessionAffinity = core.ServiceAffinityClientIP
	c.view.Put(svc)
	c.endpoints("web", a)
	c.want(client.NS, "tcp", "10.43.0.9:80", "a from "+client.addrs[0].String())
	c.want(client.NS, "tcp", "[fd43::9]:80", "a from "+client.addrs[1].String())
	c.endpoints("web", a, b)
	c.wantEndpoint(b)
	got := c.spread(client.NS, "10.43.0.9:80", 20)
	if got["a"] != 20 {
		t.Errorf("one client was spread over endpoints: %v", got)
	}
	if got := c.spread(client.NS, "[fd43::9]:80", 20); len(got) != 1 {
		t.Errorf("one client was spread over endpoints: %v", got)
	}
	// A new proxy keeps it, and so does an endpoint that comes and goes.
	c.stop()
	c.run()
	extra := c.pod("extra")
	c.endpoints("web", a, b, extra)
	c.endpoints("web", a, extra)
	c.wantEndpoint(extra)
	if got := c.spread(client.NS, "10.43.0.9:80", 20); got["a"] != 20 {
		t.Errorf("affinity was lost: %v", got)
	}
	c.endpoints("web", extra)
	c.want(client.NS, "tcp", "10.43.0.9:80", "extra from "+client.addrs[0].String())
	svc = object.Clone(svc)
	svc.Spec.SessionAffinity = core.ServiceAffinityNone
	c.view.Put(svc)
	c.endpoints("web", a, b)
	c.want(client.NS, "tcp", "10.43.0.9:80", "a from "+client.addrs[0].String())
	if got := c.spread(client.NS, "10.43.0.9:80", 60); got["a"] < 10 || got["b"] < 10 {
		t.Errorf("spread without affinity: %v", got)
	}
}

func TestUDPFollowsEndpoints(t *testing.T) {
	c := newCluster(t)
	a, b, client := c.pod("a"), c.pod("b"), c.pod("client")
	c.view.Put(service("web", "10.43.0.9", "fd43::9"))
	c.endpoints("web", a)
	c.want(client.NS, "udp", "10.43.0.9:80", "a from "+client.addrs[0].String())
	conn, err := client.Dial(t.Context(), "udp", "10.43.0.9:80", netip.Addr{}) // one socket, one tracked connection
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	talk := func(want string) {
		t.Helper()
		var got string
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end) && got != want; {
			conn.Write([]byte("?"))
			conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			buf := make([]byte, 64)
			n, _ := conn.Read(buf)
			got = string(buf[:n])
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	talk("a from " + client.addrs[0].String())
	c.endpoints("web", b)
	talk("b from " + client.addrs[0].String())
}

func TestTerminatingEndpointsServeWhenNoneIsReady(t *testing.T) {
	c := newCluster(t)
	a, b, client := c.pod("a"), c.pod("b"), c.pod("client")
	yes := true
	going := endpoint(a.addrs[0].String(), "node", false)
	going.Conditions.Serving, going.Conditions.Terminating = &yes, &yes
	c.view.Put(service("web", "10.43.0.9", "fd43::9"))
	c.view.Put(slice("web", going))
	c.want(client.NS, "tcp", "10.43.0.9:80", "a from "+client.addrs[0].String())
	c.view.Put(slice("web", going, endpoint(b.addrs[0].String(), "node", true)))
	c.want(client.NS, "tcp", "10.43.0.9:80", "b from "+client.addrs[0].String())
	if got := c.spread(client.NS, "10.43.0.9:80", 20); got["b"] != 20 {
		t.Errorf("spread %v, want the ready endpoint only", got)
	}
}

func TestLoadBalancerSourceRanges(t *testing.T) {
	c := newCluster(t)
	a := c.pod("a")
	svc := service("web", "10.43.0.9", "fd43::9")
	svc.Spec.Type = core.ServiceTypeLoadBalancer
	svc.Spec.LoadBalancerSourceRanges = []string{"192.168.77.0/24"}
	svc.Status.LoadBalancer.Ingress = []core.LoadBalancerIngress{{IP: "192.168.99.9"}}
	c.lan.Route(t, "192.168.99.0/24", "192.168.77.1")
	c.view.Put(svc)
	c.endpoints("web", a)
	c.want(c.lan, "tcp", "192.168.99.9:80", "a from 10.42.7.1")
	svc = object.Clone(svc)
	svc.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"}
	c.view.Put(svc)
	c.wantSilence(c.lan, "192.168.99.9:80")
}

// TestForeignPodNetwork is a node whose pods are connected by somebody else: the bridge has no address but that of DNS.
func TestForeignPodNetwork(t *testing.T) {
	roottest.Need(t, "makes links and rules")
	bare := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bare0", Flags: net.FlagUp}}
	if err := netlink.LinkAdd(bare); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(bare)
	dns, err := netlink.ParseAddr("10.43.0.10/32")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(bare, dns); err != nil {
		t.Fatal(err)
	}
	other := nettest.New(t)
	nettest.Join(t, nil, "lan0", "192.168.77.1/24", other, "lan0", "192.168.77.2/24")
	serve(t, other, "other")
	c := &cluster{t: t, view: nettest.NewView(service("web", "10.43.0.9"), slice("web", endpoint("192.168.77.2", "elsewhere", true))), link: "bare0"}
	c.run()
	defer Cleanup(context.Background())
	defer c.stop()
	for _, proto := range []string{"tcp", "udp"} {
		c.want(nil, proto, "10.43.0.9:80", "other from 192.168.77.1")
	}
}

// TestRestartChangesNothing: what a proxy left in the kernel is what the next one wants, slots included.
func TestRestartChangesNothing(t *testing.T) {
	roottest.Need(t, "writes nftables")
	defer Cleanup(context.Background())
	first, err := New(Deps{View: many(50, 5), NodeName: "node", PodCIDRs: podRanges, ServiceCIDRs: serviceRanges})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	feed := func(p *Proxy, k int) {
		for i := range 50 {
			s := manySlice(fmt.Sprintf("svc-%d", i), i, 5)
			s.Endpoints = s.Endpoints[k:] // the slots of those that go are filled by the last
			key, _ := serviceOf(s)
			p.slices[key] = map[string]*discovery.EndpointSlice{s.Name: s}
			p.mark(key)
		}
	}
	for k := range 3 {
		feed(first, k)
		if err := first.once(t.Context(), k == 0); err != nil {
			t.Fatal(err)
		}
	}
	second, err := New(first.deps)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	have, err := second.load()
	if err != nil {
		t.Fatal(err)
	}
	feed(second, 2)
	out := newStep()
	for _, j := range second.due() {
		second.table.set(j.key, model(j.svc, j.slices, second.site), out)
	}
	for f, st := range have {
		ch := nft.Diff(st, second.table.ruleset(f))
		ch.DropChains = nil // pick.5 and pick.4 are of no use any more
		if !ch.Empty() {
			t.Errorf("a restart changes:\n%s", ch.Text([]nft.Set{servicesMap, endpointsMap, refusedMap, hairpinSet}))
		}
	}
}

func TestTablesComeBackAfterSomebodyDeletedThem(t *testing.T) {
	c := newCluster(t)
	a, client := c.pod("a"), c.pod("client")
	c.view.Put(service("web", "10.43.0.9", "fd43::9"))
	c.endpoints("web", a)
	c.want(client.NS, "tcp", "10.43.0.9:80", "a from "+client.addrs[0].String())
	if err := Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.want(client.NS, "tcp", "10.43.0.9:80", "a from "+client.addrs[0].String())
	c.view.Put(service("other", "10.43.0.10", "fd43::a"))
	c.want(client.NS, "tcp", "10.43.0.9:80", "a from "+client.addrs[0].String())
	c.wantRefused(client.NS, "tcp", "10.43.0.10:80")
}
