package conntrack

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Table is the table of tracked connections of one network namespace.
type Table struct{ nl *netlink.Handle }

// Flow is one tracked connection, as far as redirects are concerned.
type Flow struct {
	Proto uint8          // 6, 17, 132
	To    netip.AddrPort // where the client sends
	From  netip.AddrPort // where the answers come from: an endpoint, or To where nothing redirects
}

// Open opens the table of the network namespace of the calling thread. It needs CAP_NET_ADMIN.
func Open() (*Table, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open connection tracking socket: %w", err)
	}
	return &Table{nl}, nil
}

// Close frees the socket.
func (t *Table) Close() { t.nl.Close() }

// Forget removes every flow of one family for which stale says so. It reads the whole table once.
func (t *Table) Forget(ipv6 bool, stale func(Flow) bool) error {
	family := netlink.InetFamily(unix.AF_INET)
	if ipv6 {
		family = unix.AF_INET6
	}
	if _, err := t.nl.ConntrackDeleteFilters(netlink.ConntrackTable, family, filter(stale)); err != nil {
		return fmt.Errorf("remove tracked connections: %w", err)
	}
	return nil
}

type filter func(Flow) bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to, ok := netip.AddrFromSlice(flow.Forward.DstIP)
	from, ok2 := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !ok || !ok2 {
		return false
	}
	return f(Flow{flow.Forward.Protocol, netip.AddrPortFrom(to.Unmap(), flow.Forward.DstPort),
		netip.AddrPortFrom(from.Unmap(), flow.Reverse.SrcPort)})
}
