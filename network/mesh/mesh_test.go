package mesh

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"

	"proa.dev/kit/roottest"
	"proa.dev/network/nettest"
	"proa.dev/network/route"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }

var cluster = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/56")}

func TestWays(t *testing.T) {
	node := func(cidrs []string, addrs ...string) *core.Node {
		n := &core.Node{Spec: core.NodeSpec{PodCIDRs: cidrs}}
		n.Status.Addresses = []core.NodeAddress{{Type: core.NodeHostName, Address: "n"}}
		for _, a := range addrs {
			n.Status.Addresses = append(n.Status.Addresses, core.NodeAddress{Type: core.NodeInternalIP, Address: a})
		}
		return n
	}
	for _, tt := range []struct {
		node *core.Node
		want string
	}{
		{node([]string{"10.42.1.0/24"}, "192.168.1.2"), "map[10.42.1.0/24:192.168.1.2]"},
		{node([]string{"10.42.1.0/24", "fd42::100/120"}, "192.168.1.2", "fd01::2"), "map[10.42.1.0/24:192.168.1.2 fd42::100/120:fd01::2]"},
		{node([]string{"10.42.1.0/24"}, "fd01::2"), "map[]"},
		{node([]string{"10.42.1.0/24"}), "map[]"},
		{node(nil, "192.168.1.2"), "map[]"},
		{node([]string{"0.0.0.0/0", "8.8.8.0/24", "10.0.0.0/8"}, "192.168.1.2"), "map[]"}, // traffic that is none of its business
		{node([]string{"10.42.1.0/24"}, "10.42.7.1"), "map[]"},                            // a pod is no router
	} {
		if got := fmt.Sprint(ways(tt.node, cluster)); got != tt.want {
			t.Errorf("%v by %v: got %s, want %s", tt.node.Spec.PodCIDRs, tt.node.Status.Addresses, got, tt.want)
		}
	}
}

func TestSetMakesRoutesExactlyThese(t *testing.T) {
	roottest.Need(t, "sets routes")
	other := nettest.New(t)
	nettest.Join(t, nil, "lan0", "192.168.7.1/24", other, "lan0", "192.168.7.2/24")
	m, err := New(Deps{Pods: cluster})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	t.Cleanup(func() {
		if err := route.Cleanup(t.Context()); err != nil {
			t.Error(err)
		}
	})
	p1, p2, far := netip.MustParsePrefix("10.42.1.0/24"), netip.MustParsePrefix("10.42.2.0/24"), netip.MustParsePrefix("10.42.3.0/24")
	a, b := netip.MustParseAddr("192.168.7.2"), netip.MustParseAddr("192.168.7.3")
	check := func(want ...string) {
		t.Helper()
		have, err := m.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: route.Protocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range have {
			if h.Type == unix.RTN_UNICAST {
				got = append(got, fmt.Sprintf("%s by %s", h.Dst, h.Gw))
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("routes (-want +got):\n%s", diff)
		}
	}
	for range 2 {
		if err := m.set(map[netip.Prefix]netip.Addr{p1: a, p2: b}); err != nil {
			t.Fatal(err)
		}
		check("10.42.1.0/24 by 192.168.7.2", "10.42.2.0/24 by 192.168.7.3")
	}
	if err := m.set(map[netip.Prefix]netip.Addr{p1: b, far: netip.MustParseAddr("203.0.113.9")}); err == nil {
		t.Error("a node that is not on a link has a route")
	}
	check("10.42.1.0/24 by 192.168.7.3")
	if err := m.set(nil); err != nil {
		t.Fatal(err)
	}
	check()
}
