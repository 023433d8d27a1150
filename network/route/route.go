package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"proa.dev/kit/dump"
)

const (
	// Protocol marks routes as ours ("p" of proa; numbers from 5 up are free for routing daemons).
	Protocol netlink.RouteProtocol = 112
	// metric is that of the unreachable routes: any real route to the same prefix is better.
	metric = 1 << 16
)

// Config names the ranges, which may be of both families.
type Config struct {
	Pods     []netip.Prefix // of the whole cluster
	Services []netip.Prefix
	// PodsKey and ServicesKey name the configuration of the ranges in errors: "podCIDRs".
	PodsKey, ServicesKey string
	// OwnLinks are names of links whose routes may lie within the ranges: proa's bridge.
	OwnLinks []string
	// Others: another network plugin, or another runtime, connects pods. Its routes lie within Pods.
	Others bool
}

// Routes are the unreachable routes of one node.
type Routes struct {
	cfg Config
	nl  *netlink.Handle
}

// New checks the ranges; the routes are set by Set. It acts on the network namespace of the calling thread.
func New(cfg Config) (*Routes, error) {
	for _, p := range append(append([]netip.Prefix{}, cfg.Pods...), cfg.Services...) {
		if !p.IsValid() || p.Bits() == 0 {
			return nil, fmt.Errorf("%v is no range of cluster addresses", p)
		}
	}
	for _, p := range cfg.Pods {
		for _, s := range cfg.Services {
			if p.Overlaps(s) {
				return nil, fmt.Errorf("%s %s overlaps %s %s", cfg.PodsKey, p, cfg.ServicesKey, s)
			}
		}
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &Routes{cfg: cfg, nl: nl}, nil
}

// Set makes the unreachable routes; call it before anything may send to the ranges. Repeating it is harmless. It fails with an
// *OverlapError, and changes nothing, if a range overlaps a route of the host.
func (r *Routes) Set(context.Context) error {
	have, err := list(r.nl)
	if err != nil {
		return err
	}
	links := map[int]string{}
	if all, err := dump.Whole(r.nl.LinkList); err == nil {
		for _, l := range all {
			links[l.Attrs().Index] = l.Attrs().Name
		}
	}
	if err := overlap(r.cfg, have, links); err != nil {
		return err
	}
	for _, p := range r.ranges() {
		if err := r.nl.RouteReplace(unreachable(p)); err != nil {
			return fmt.Errorf("set unreachable route for %s: %w", p, err)
		}
	}
	return nil
}

func (r *Routes) ranges() []netip.Prefix {
	return append(append([]netip.Prefix{}, r.cfg.Pods...), r.cfg.Services...)
}

func unreachable(p netip.Prefix) *netlink.Route {
	p = p.Masked()
	dst := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	return &netlink.Route{Dst: dst, Type: unix.RTN_UNREACHABLE, Priority: metric, Protocol: Protocol}
}

func list(nl *netlink.Handle) ([]netlink.Route, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN}
	have, err := dump.Whole(func() ([]netlink.Route, error) {
		return nl.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return have, nil
}

// OverlapError says that a cluster range overlaps a route that the host has already.
type OverlapError struct {
	Key   string // of the configuration
	Range netip.Prefix
	Route netip.Prefix
	Link  string
}

func (e *OverlapError) Error() string {
	return fmt.Sprintf("%s %s overlaps the host's route %s by %s: choose another range", e.Key, e.Range, e.Route, e.Link)
}

// overlap finds a route of the host within, or around, a range. Default routes overlap nothing, nor do our own, nor those that lead
// nowhere: whoever set one of those wants what we want. Once our own routes are there, what lies within Pods is taken for pods that others
// have connected since.
func overlap(cfg Config, have []netlink.Route, links map[int]string) error {
	own := map[string]bool{}
	for _, name := range cfg.OwnLinks {
		own[name] = true
	}
	for _, h := range have {
		dst, ok := prefixOf(h.Dst)
		name := links[h.LinkIndex]
		if !ok || dst.Bits() == 0 || h.Protocol == Protocol || own[name] || leadsNowhere(h) {
			continue
		}
		for _, p := range cfg.Pods {
			if p.Overlaps(dst) && !(cfg.Others && p.Bits() <= dst.Bits() && isSet(p, have)) {
				return &OverlapError{cfg.PodsKey, p, dst, name}
			}
		}
		for _, p := range cfg.Services {
			if p.Overlaps(dst) {
				return &OverlapError{cfg.ServicesKey, p, dst, name}
			}
		}
	}
	return nil
}

// isSet says whether the unreachable route of a range is there.
func isSet(p netip.Prefix, have []netlink.Route) bool {
	return slices.ContainsFunc(have, func(h netlink.Route) bool {
		dst, ok := prefixOf(h.Dst)
		return ok && dst == p.Masked() && h.Protocol == Protocol && h.Type == unix.RTN_UNREACHABLE
	})
}

func leadsNowhere(r netlink.Route) bool {
	return r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_BLACKHOLE || r.Type == unix.RTN_PROHIBIT
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	if a = a.Unmap(); !ok || bits > a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, bits), true
}

// ours are the routes of the node that carry our protocol number.
func ours(nl *netlink.Handle) ([]netlink.Route, error) {
	have, err := list(nl)
	if err != nil {
		return nil, err
	}
	var out []netlink.Route
	for _, h := range have {
		if h.Protocol == Protocol {
			out = append(out, h)
		}
	}
	return out, nil
}

// Cleanup removes every route that proa ever set on the node, whatever the ranges were then. It acts on the network namespace of
// the calling thread.
func Cleanup(context.Context) error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	defer nl.Close()
	have, err := ours(nl)
	if err != nil {
		return err
	}
	var errs error
	for _, h := range have {
		if err := nl.RouteDel(&h); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = errors.Join(errs, fmt.Errorf("remove route %v: %w", h.Dst, err))
		}
	}
	return errs
}

// Leftovers lists the routes that Cleanup would remove.
func Leftovers() ([]string, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	defer nl.Close()
	have, err := ours(nl)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, h := range have {
		kind := "route"
		if h.Type == unix.RTN_UNREACHABLE {
			kind = "unreachable route"
		}
		out = append(out, fmt.Sprintf("%s %v", kind, h.Dst))
	}
	return out, nil
}

// Cleanup is the function Cleanup.
func (r *Routes) Cleanup(ctx context.Context) error { return Cleanup(ctx) }

// Leftovers is the function Leftovers.
func (r *Routes) Leftovers() ([]string, error) { return Leftovers() }

// Close closes the netlink socket; the routes stay.
func (r *Routes) Close() { r.nl.Close() }
