package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kit/roottest"
	"proa.dev/kit/run"
	"proa.dev/network/cni"
	"proa.dev/network/dns"
	"proa.dev/network/nettest"
	"proa.dev/network/nft"
	"proa.dev/network/route"
	"proa.dev/network/service"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }

func ptr[T any](v T) *T { return &v }

// TestWholeNode puts all parts together as a node does: a pod asks DNS for a Service by its short name, connects to it, and at the
// end nothing is left that was not there before.
func TestWholeNode(t *testing.T) {
	roottest.Need(t, "makes links, namespaces and rules")
	before := inventory(t)
	pods, services := []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}
	cfg := cni.Config{Bridge: "proatest0", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/24")}, ClusterCIDRs: pods,
		ServiceCIDRs: services, StateDir: t.TempDir() + "/cni"}
	addr := netip.MustParseAddr("10.43.0.10")

	routes, err := route.New(route.Config{Pods: pods, Services: services, OwnLinks: []string{cfg.Bridge}})
	if err != nil {
		t.Fatal(err)
	}
	defer routes.Close()
	if err := routes.Set(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", "10.43.0.9:80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("before there is any service: %v, want unreachable", err)
	}
	plugin, err := cni.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer plugin.Close()
	local, err := dns.Address(cfg.Bridge, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	if err := local.Set(); err != nil {
		t.Fatal(err)
	}
	view := nettest.NewView(
		webService("kube-system", "kube-dns", "10.43.0.10", 53), // without endpoints: the node serves it
		webService("shop", "web", "10.43.0.9", 80),
	)
	names, err := dns.New(dns.Deps{View: view, Domain: "cluster.local", Listen: []netip.AddrPort{netip.AddrPortFrom(addr, 53)}})
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := service.New(service.Deps{View: view, NodeName: "node", PodCIDRs: pods, ServiceCIDRs: services, Link: cfg.Bridge,
		Own: []netip.Addr{addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- run.All(ctx, run.Component{Name: "proxy", Run: proxy.Run}, run.Component{Name: "dns", Run: names.Run})
	}()
	<-proxy.Synced()
	<-names.Synced()

	web, client := attach(t, plugin, "web"), attach(t, plugin, "client")
	l := web.Listen(t, ":8080")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "hello")
			c.Close()
		}
	}()
	view.Put(&discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{discovery.LabelServiceName: "web"}},
		AddressType: discovery.AddressTypeIPv4, Endpoints: []discovery.Endpoint{{Addresses: []string{web.addr.String()}}},
		Ports: []discovery.EndpointPort{{Name: ptr(""), Port: ptr(int32(8080))}},
	})
	for _, network := range []string{"udp", "tcp"} {
		for _, ns := range []*nettest.NS{client.NS, nil} { // a pod, and the node
			if got := lookup(t, ns, network, "10.43.0.10:53", "web.shop.svc.cluster.local."); got != "10.43.0.9" {
				t.Errorf("%s: web is %q, want 10.43.0.9", network, got)
			}
		}
	}
	if got := hello(t, client.NS, "10.43.0.9:80"); got != "hello" {
		t.Errorf("the service says %q", got)
	}

	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := hello(t, client.NS, "10.43.0.9:80"); got != "hello" {
		t.Errorf("after the proxy has ended the service says %q", got)
	}
	if err := routes.Set(t.Context()); err != nil {
		t.Errorf("a restart takes its own routes for the host's: %v", err)
	}
	left, err := Leftovers(cfg)
	if err != nil {
		t.Error(err)
	}
	slices.Sort(left)
	want := []string{
		"bridge proatest0", "lease of 10.42.0.2 to web", "lease of 10.42.0.3 to client", "nftables table ip proa-pods",
		"nftables table ip proa-services",
		"route 10.42.0.2/32", "route 10.42.0.3/32", "unreachable route 10.42.0.0/16", "unreachable route 10.43.0.0/16", "route 10.43.0.0/16", "veth " + cni.LinkName("client"), "veth " + cni.LinkName("web"),
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, left); diff != "" {
		t.Errorf("what a reset would remove (-want +got):\n%s", diff)
	}
	for range 2 { // the second finds nothing
		if err := Cleanup(t.Context(), cfg); err != nil {
			t.Error(err)
		}
	}
	if left, err := Leftovers(cfg); err != nil || len(left) > 0 {
		t.Errorf("after Cleanup: %v, %v", left, err)
	}
	if diff := cmp.Diff(before, inventory(t)); diff != "" {
		t.Errorf("the node is not as it was (-before +after):\n%s", diff)
	}
}

func webService(ns, name, ip string, port int32) *core.Service {
	return &core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: core.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []core.ServicePort{{Port: port}, {Name: "udp", Protocol: "UDP", Port: port}}}}
}

type pod struct {
	*nettest.NS
	addr netip.Addr
}

func attach(t *testing.T, p *cni.Plugin, id string) pod {
	t.Helper()
	ns := nettest.New(t)
	addrs, err := p.Attach(t.Context(), cni.Pod{ID: id, Name: id, NetNS: ns.Path()})
	if err != nil {
		t.Fatal(err)
	}
	return pod{ns, addrs[0]}
}

func dial(t *testing.T, ns *nettest.NS, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if ns == nil {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return ns.Dial(ctx, network, addr, netip.Addr{})
}

func lookup(t *testing.T, ns *nettest.NS, network, server, name string) string {
	t.Helper()
	c, err := dial(t, ns, network, server)
	if err != nil {
		t.Errorf("connect to DNS: %v", err)
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	r, _, err := new(mdns.Client).ExchangeWithConn(new(mdns.Msg).SetQuestion(name, mdns.TypeA), &mdns.Conn{Conn: c})
	if err != nil || len(r.Answer) != 1 {
		t.Errorf("ask DNS: %v, %v", r, err)
		return ""
	}
	return r.Answer[0].(*mdns.A).A.String()
}

// hello reads what the service says, once it is there.
func hello(t *testing.T, ns *nettest.NS, addr string) string {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		c, err := dial(t, ns, "tcp", addr)
		if err != nil {
			continue
		}
		c.SetDeadline(time.Now().Add(2 * time.Second))
		raw, err := io.ReadAll(c)
		c.Close()
		if err == nil {
			return string(raw)
		}
	}
	return "nothing"
}

// inventory is what the network of the node is made of.
func inventory(t *testing.T) []string {
	t.Helper()
	var out []string
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		out = append(out, "link "+l.Attrs().Name)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		out = append(out, "address "+a.IPNet.String())
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		out = append(out, fmt.Sprintf("route %v type %d", r.Dst, r.Type))
	}
	conn, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tables, err := conn.Tables("")
	if err != nil {
		t.Fatal(err)
	}
	for _, tab := range tables {
		out = append(out, "table "+tab.String())
	}
	for _, sysctl := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		raw, err := os.ReadFile("/proc/sys/net/" + sysctl)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, sysctl+" "+strings.TrimSpace(string(raw)))
	}
	slices.Sort(out)
	return out
}
