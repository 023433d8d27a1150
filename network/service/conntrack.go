package service

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"proa.dev/kit/dump"
	"proa.dev/network/conntrack"
	"proa.dev/network/nft"
	"proa.dev/network/route"
)

// connections is the part of the kernel beside nftables that the proxy touches: connection tracking and the routes of the
// service ranges.
type connections struct {
	ct *conntrack.Table
	rt *netlink.Handle
}

func openConnections() (*connections, error) {
	ct, err := conntrack.Open()
	if err != nil {
		return nil, err
	}
	rt, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		ct.Close()
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &connections{ct, rt}, nil
}

func (k *connections) close() {
	k.ct.Close()
	k.rt.Close()
}

// routeServices routes the service ranges to a link, so that the node may connect to cluster IPs: nothing is ever sent there,
// since the tables redirect or refuse every such packet on its way out.
func (k *connections) routeServices(services []netip.Prefix, name string) error {
	if name == "" {
		return nil
	}
	l, err := k.rt.LinkByName(name)
	if err != nil {
		return fmt.Errorf("route services to %s: %w", name, err)
	}
	for _, s := range services {
		family := netlink.FAMILY_V4
		if s.Addr().Is6() {
			family = netlink.FAMILY_V6
		}
		addrs, err := dump.Whole(func() ([]netlink.Addr, error) {
			return k.rt.AddrList(l, family)
		})
		if err != nil {
			return fmt.Errorf("list addresses of %s: %w", name, err)
		}
		r := &netlink.Route{LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK, Protocol: route.Protocol,
			Dst: &net.IPNet{IP: s.Masked().Addr().AsSlice(), Mask: net.CIDRMask(s.Bits(), s.Addr().BitLen())}}
		i := slices.IndexFunc(addrs, func(a netlink.Addr) bool { return a.IP.IsGlobalUnicast() && !r.Dst.Contains(a.IP) })
		if i >= 0 { // else the kernel takes an address of another link, and the tables masquerade
			r.Src = addrs[i].IP
		}
		if err := k.rt.RouteReplace(r); err != nil {
			return fmt.Errorf("route services %s to %s: %w", s, name, err)
		}
	}
	return nil
}

// forget removes tracked connections of these frontends that lead elsewhere than to their endpoints. TCP is left alone.
func (k *connections) forget(stale map[frontend][]netip.AddrPort) error {
	f := &staleFlows{fronts: map[frontend][]netip.AddrPort{}}
	var node bool
	for fe, to := range stale {
		if fe.proto != unix.IPPROTO_TCP {
			f.fronts[fe] = to
			f.v4, f.v6 = f.v4 || fe.addr.Is4(), f.v6 || fe.addr.Is6()
			node = node || fe.addr.IsUnspecified()
		}
	}
	if len(f.fronts) == 0 {
		return nil
	}
	if node {
		addrs, err := dump.Whole(func() ([]netlink.Addr, error) {
			return k.rt.AddrList(nil, netlink.FAMILY_ALL)
		})
		if err != nil {
			return fmt.Errorf("list addresses of the node: %w", err)
		}
		f.node = map[netip.Addr]bool{}
		for _, a := range addrs {
			if ip, ok := netip.AddrFromSlice(a.IP); ok {
				f.node[ip.Unmap()] = true
			}
		}
	}
	var errs error
	if f.v4 {
		errs = errors.Join(errs, k.ct.Forget(false, f.stale))
	}
	if f.v6 {
		errs = errors.Join(errs, k.ct.Forget(true, f.stale))
	}
	return errs
}

// staleFlows says which tracked connections are to be removed.
type staleFlows struct {
	fronts map[frontend][]netip.AddrPort
	node   map[netip.Addr]bool // addresses of the node, if there are node ports among the frontends
	v4, v6 bool
}

func (s *staleFlows) stale(flow conntrack.Flow) bool {
	dst := flow.To.Addr()
	fe := frontend{dst, flow.Proto, flow.To.Port()}
	to, known := s.fronts[fe]
	if !known && s.node[dst] {
		fe.addr = netip.IPv4Unspecified()
		if dst.Is6() {
			fe.addr = netip.IPv6Unspecified()
		}
		to, known = s.fronts[fe]
	}
	return known && !slices.Contains(to, flow.From)
}

// forgetAffinity removes clients of these frontends from the affinity map that are tied to endpoints of the past.
func forgetAffinity(conn *nft.Conn, stale map[frontend][]netip.AddrPort) error {
	if len(stale) == 0 {
		return nil
	}
	var errs error
	for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		t := nft.Table{Family: f, Name: tableName}
		clients, err := conn.Elements(t, affinityMap)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		for _, e := range clients {
			if !tiedToThePast(f, e, stale) {
				continue
			}
			ch := nft.Change{Table: t}
			ch.Take(affinityMap.Name, nft.Element{Key: e.Key})
			// One by one: an element may time out meanwhile, and that fails its transaction.
			if err := conn.Do(ch); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = errors.Join(errs, err)
			}
		}
	}
	return errs
}

func tiedToThePast(f nft.Family, e nft.Element, stale map[frontend][]netip.AddrPort) bool {
	n := 4
	if f == nft.IPv6 {
		n = 16
	}
	dst, ok := nft.AddrAt(f, e.Key, n)
	to, ok2 := nft.AddrAt(f, e.Val, 0)
	if !ok || !ok2 || len(e.Key) < 2*n+8 {
		return false
	}
	valid, known := stale[frontend{dst, e.Key[2*n], nft.PortAt(e.Key, 2*n+4)}]
	return known && !slices.Contains(valid, netip.AddrPortFrom(to, nft.PortAt(e.Val, n)))
}
