package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/kit/dump"
	"proa.dev/network/route"
)

// Deps is what a Mesh is built from.
type Deps struct {
	View     client.View // carries nodes
	NodeName string      // of this machine
	Pods     []netip.Prefix
	Log      *slog.Logger
}

// Mesh keeps the routes to the pods of other nodes.
type Mesh struct {
	deps Deps
	nl   *netlink.Handle
}

// New acts on the network namespace of the calling thread; Run sets the routes.
func New(d Deps) (*Mesh, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &Mesh{d, nl}, nil
}

// Close closes the netlink socket; the routes stay, so that pods talk to each other while no daemon runs.
func (m *Mesh) Close() { m.nl.Close() }

// Run follows the nodes until ctx ends.
func (m *Mesh) Run(ctx context.Context) error {
	synced, due := false, false
	known := map[string]map[netip.Prefix]netip.Addr{} // by node
	return client.Watch(ctx, m.deps.View, func(t client.EventType, now, _ *core.Node) {
		switch {
		case t == client.Synced:
			synced = true
		case t == client.Deleted:
			delete(known, now.Name)
		default:
			way := ways(now, m.deps.Pods)
			if maps.Equal(known[now.Name], way) && !due {
				return // a heartbeat
			}
			known[now.Name] = way
		}
		if !synced {
			return
		}
		want := map[netip.Prefix]netip.Addr{}
		for name, way := range known {
			if name != m.deps.NodeName {
				maps.Copy(want, way)
			}
		}
		err := m.set(want)
		if due = err != nil; due { // the next heartbeat tries again
			m.deps.Log.Warn("pods of other nodes not reachable", "err", err)
		}
	})
}

// ways is how the pods of a node are reached: its ranges, of those inside the cluster's, by its address of the same family.
func ways(n *core.Node, cluster []netip.Prefix) map[netip.Prefix]netip.Addr {
	out := map[netip.Prefix]netip.Addr{}
	for _, text := range n.Spec.PodCIDRs {
		p, err := netip.ParsePrefix(text)
		if err != nil || !inside(p, cluster) {
			continue
		}
		for _, a := range n.Status.Addresses {
			ip, err := netip.ParseAddr(a.Address)
			if a.Type == core.NodeInternalIP && err == nil && ip.Is4() == p.Addr().Is4() && !inside(netip.PrefixFrom(ip, ip.BitLen()), cluster) {
				out[p.Masked()] = ip
				break
			}
		}
	}
	return out
}

// inside says whether p is part of one of the ranges: a node must not draw other traffic to itself.
func inside(p netip.Prefix, cluster []netip.Prefix) bool {
	for _, c := range cluster {
		if c.Contains(p.Addr()) && p.Bits() >= c.Bits() {
			return true
		}
	}
	return false
}

// set makes the routes to other nodes be exactly these.
func (m *Mesh) set(want map[netip.Prefix]netip.Addr) error {
	have, err := dump.Whole(func() ([]netlink.Route, error) {
		return m.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN, Protocol: route.Protocol},
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var errs error
	for _, h := range have {
		dst, ok := prefixOf(h.Dst)
		if h.Gw == nil || !ok {
			continue // to a pod of this node, or unreachable
		}
		if _, wanted := want[dst]; !wanted {
			if err := m.nl.RouteDel(&h); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = errors.Join(errs, fmt.Errorf("remove the route to %s: %w", dst, err))
			}
		}
	}
	for p, gw := range want {
		dst := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		link, err := m.linkTo(gw)
		if err == nil {
			err = m.nl.RouteReplace(&netlink.Route{Dst: dst, Gw: gw.AsSlice(), LinkIndex: link, Protocol: route.Protocol})
		}
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("route %s by %s: %w", p, gw, err))
		}
	}
	return errs
}

// linkTo is the link on which a neighbour is.
func (m *Mesh) linkTo(gw netip.Addr) (int, error) {
	found, err := m.nl.RouteGet(gw.AsSlice())
	if err != nil {
		return 0, err
	}
	for _, r := range found {
		if r.Gw == nil && r.Type == unix.RTN_UNICAST {
			return r.LinkIndex, nil
		}
	}
	return 0, errors.New("the node is not on a link of this machine")
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), ok
}
