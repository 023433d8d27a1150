package cni

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"proa.dev/kit/dump"
	"proa.dev/network/nft"
	"proa.dev/network/route"
)

// podLink is the name of the interface in a pod, which users know by heart.
const podLink = "eth0"

// routed is the built-in plugin.
type routed struct {
	cfg    Config
	nl     *netlink.Handle
	group  uint32 // of all pod links, by which they are found again
	leases *leases
	ports  *ports
	gone   *removals
}

// LinkName is the name of the host side of a pod's veth.
func LinkName(sandbox string) string {
	sum := sha256.Sum256([]byte(sandbox))
	return "proa" + hex.EncodeToString(sum[:])[:11]
}

// newRouted prepares the node.
func newRouted(cfg Config) (*routed, error) {
	if err := checkRanges(cfg); err != nil {
		return nil, err
	}
	b, err := openRouted(cfg)
	if err != nil {
		return nil, err
	}
	if err := b.prepare(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// openRouted opens what there is, and makes nothing.
func openRouted(cfg Config) (b *routed, err error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	b = &routed{cfg: cfg, nl: nl}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if l, err := nl.LinkByName(cfg.Bridge); err == nil {
		b.group = groupOf(l)
	}
	if b.leases, err = openLeases(filepath.Join(cfg.StateDir, "leases"), cfg.PodCIDRs); err != nil {
		return nil, err
	}
	if b.ports, err = openPorts(nl); err != nil {
		return nil, err
	}
	b.gone, err = openRemovals(nl, cfg.Log)
	return b, err
}

func (b *routed) attach(ctx context.Context, p Pod) ([]netip.Addr, error) {
	addrs, err := b.leases.take(p.ID)
	if errors.Is(err, errNoAddress) {
		return nil, fmt.Errorf("%w (%d pods hold leases)", err, len(b.leases.all()))
	}
	if err != nil {
		return nil, err
	}
	ns, err := netns.GetFromPath(p.NetNS)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", p.NetNS, err)
	}
	defer ns.Close()
	in, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("enter network namespace %s: %w", p.NetNS, err)
	}
	defer in.Close()
	host, err := b.connect(p.ID, ns, in, podMAC(addrs[0]))
	if err != nil {
		return nil, err
	}
	if err := b.configureNode(host, addrs); err != nil {
		return nil, err
	}
	if err := b.configurePod(in, addrs); err != nil {
		return nil, err
	}
	if err := b.ports.add(addrs, p.Ports); err != nil {
		return nil, err
	}
	return addrs, ctx.Err()
}

// connect makes the veth pair. A pair that an earlier attempt made between the node and this namespace is kept.
func (b *routed) connect(id string, ns netns.NsHandle, in *netlink.Handle, mac net.HardwareAddr) (host netlink.Link, err error) {
	name := LinkName(id)
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: podLink, PeerNamespace: netlink.NsFd(ns), PeerHardwareAddr: mac}
	veth.Name, veth.MTU, veth.Group, veth.Flags, veth.HardwareAddr = name, b.cfg.MTU, b.group, net.FlagUp, nodeMAC()
	err = b.nl.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) {
		old, lookup := b.nl.LinkByName(name)
		if lookup != nil {
			return nil, fmt.Errorf("the pod has another interface %s: %w", podLink, err)
		}
		if eth, lookup := in.LinkByName(podLink); lookup == nil && eth.Attrs().ParentIndex == old.Attrs().Index {
			return old, nil
		}
		if err := b.nl.LinkDel(old); err != nil {
			return nil, fmt.Errorf("remove old veth %s: %w", name, err)
		}
		err = b.nl.LinkAdd(veth)
	}
	if err != nil {
		return nil, fmt.Errorf("make veth %s: %w", name, err)
	}
	return veth, nil
}

// configureNode leads the pod's addresses to its link.
func (b *routed) configureNode(host netlink.Link, addrs []netip.Addr) error {
	if err := linkSettings(host.Attrs().Name).set(); err != nil {
		return err
	}
	for i, a := range addrs {
		index := host.Attrs().Index
		if err := b.nl.NeighSet(neighbour(index, a, podMAC(addrs[0]))); err != nil {
			return fmt.Errorf("tell the node of neighbour %s: %w", a, err)
		}
		gw := gateway(b.leases.ranges[i])
		r := &netlink.Route{LinkIndex: index, Dst: single(a), Scope: netlink.SCOPE_LINK, Src: gw.AsSlice(), Protocol: route.Protocol}
		if err := b.nl.RouteReplace(r); err != nil {
			return fmt.Errorf("route %s to its pod: %w", a, err)
		}
	}
	return nil
}

func neighbour(index int, a netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	family := netlink.FAMILY_V4
	if a.Is6() {
		family = netlink.FAMILY_V6
	}
	return &netlink.Neigh{LinkIndex: index, Family: family, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac}
}

// configurePod gives the interface in the pod its addresses and routes.
func (b *routed) configurePod(in *netlink.Handle, addrs []netip.Addr) error {
	lo, err := in.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo in the pod: %w", err)
	}
	eth, err := in.LinkByName(podLink)
	if err != nil {
		return fmt.Errorf("find %s in the pod: %w", podLink, err)
	}
	for _, l := range []netlink.Link{lo, eth} {
		if err := in.LinkSetUp(l); err != nil {
			return fmt.Errorf("bring %s up in the pod: %w", l.Attrs().Name, err)
		}
	}
	index := eth.Attrs().Index
	for i, a := range addrs {
		if err := in.AddrReplace(eth, &netlink.Addr{IPNet: single(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("give the pod the address %s: %w", a, err)
		}
		gw := gateway(b.leases.ranges[i])
		if err := in.NeighSet(neighbour(index, gw, nodeMAC())); err != nil {
			return fmt.Errorf("tell the pod of its gateway %s: %w", gw, err)
		}
		link := &netlink.Route{LinkIndex: index, Dst: single(gw), Scope: netlink.SCOPE_LINK, Src: a.AsSlice()}
		if err := in.RouteReplace(link); err != nil {
			return fmt.Errorf("route the gateway %s: %w", gw, err)
		}
		all := netip.PrefixFrom(unspecified(a), 0)
		if err := in.RouteReplace(&netlink.Route{LinkIndex: index, Dst: ipNet(all), Gw: gw.AsSlice()}); err != nil {
			return fmt.Errorf("set default route by %s: %w", gw, err)
		}
	}
	return nil
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func (b *routed) detach(_ context.Context, p Pod) error {
	if err := b.ports.remove(b.leases.of(p.ID)); err != nil {
		return err
	}
	b.gone.add(LinkName(p.ID))
	_, err := b.leases.release(p.ID)
	return err
}

func (b *routed) check(_ context.Context, p Pod) error {
	if len(b.leases.of(p.ID)) == 0 {
		return errors.New("no address is leased to the sandbox")
	}
	l, err := b.nl.LinkByName(LinkName(p.ID))
	if err != nil {
		return fmt.Errorf("find veth %s: %w", LinkName(p.ID), err)
	}
	if l.Attrs().Flags&net.FlagUp == 0 || l.Attrs().OperState == netlink.OperDown {
		return fmt.Errorf("veth %s is down", l.Attrs().Name)
	}
	return nil
}

func (b *routed) ready() error { return nil }

func (b *routed) run(ctx context.Context) error {
	guard, err := nft.NewGuard()
	if err != nil {
		return err
	}
	b.remakeTables() // if that happened before there was a guard
	return guard.Run(ctx, func(t nft.Table) {
		if t.Name == tableName || t.Name == "" {
			b.remakeTables()
		}
	})
}

func (b *routed) remakeTables() {
	made, err := b.ports.makeMissing()
	switch {
	case err != nil:
		b.cfg.Log.Error("cannot make the deleted nftables tables again", "err", err)
	case made:
		b.cfg.Log.Warn("somebody deleted the nftables tables of the pods; they are there again")
	}
}

func (b *routed) reconcile(_ context.Context, live map[string]bool) error {
	keep := map[string]bool{}
	for id := range live {
		keep[LinkName(id)] = true
	}
	pods, err := b.podLinks()
	if err != nil {
		return err
	}
	for _, name := range pods {
		if !keep[name] {
			b.gone.add(name)
		}
	}
	var errs error
	for _, id := range b.leases.all() {
		if !live[id] {
			_, err := b.leases.release(id)
			errs = errors.Join(errs, err)
		}
	}
	held := map[netip.Addr]bool{}
	for _, id := range b.leases.all() {
		for _, a := range b.leases.of(id) {
			held[a] = true
		}
	}
	return errors.Join(errs, b.ports.keep(held))
}

// podLinks are the names of the pods' links.
func (b *routed) podLinks() ([]string, error) {
	all, err := dump.Whole(b.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var out []string
	for _, l := range all {
		if b.group != 0 && l.Attrs().Group == b.group && l.Type() == "veth" {
			out = append(out, l.Attrs().Name)
		}
	}
	return out, nil
}

func (b *routed) flush(ctx context.Context) error { return b.gone.wait(ctx) }

func (b *routed) cleanup(ctx context.Context) error {
	pods, err := b.podLinks()
	for _, name := range pods {
		b.gone.add(name)
	}
	err = errors.Join(err, b.flush(ctx))
	err = errors.Join(err, restore(b.settingsFile()))
	err = errors.Join(err, removeBridge(b.nl, b.cfg.Bridge))
	b.group = 0
	for _, id := range b.leases.all() {
		_, rel := b.leases.release(id)
		err = errors.Join(err, rel)
	}
	if rm := os.RemoveAll(b.cfg.StateDir); rm != nil {
		err = errors.Join(err, fmt.Errorf("remove leases: %w", rm))
	}
	return errors.Join(err, b.ports.cleanup())
}

func (b *routed) leftovers() ([]string, error) {
	pods, err := b.podLinks()
	var out []string
	for _, name := range pods {
		out = append(out, "veth "+name)
	}
	out = append(out, bridgeLeft(b.nl, b.cfg.Bridge)...)
	for _, id := range b.leases.all() {
		for _, a := range b.leases.of(id) {
			out = append(out, fmt.Sprintf("lease of %s to %s", a, id))
		}
	}
	tables, terr := b.ports.nft.Tables(tableName)
	for _, t := range tables {
		out = append(out, "nftables table "+t.String())
	}
	return out, errors.Join(err, terr)
}

// close waits a little for the background, so that nothing is cut off in the middle, and frees the sockets.
func (b *routed) close() {
	if b.gone != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := b.gone.wait(ctx); err != nil {
			b.cfg.Log.Warn("interfaces of dead pods are left for the next start", "err", err)
		}
		b.gone.close()
	}
	b.nl.Close()
	if b.ports != nil {
		b.ports.close()
	}
}
