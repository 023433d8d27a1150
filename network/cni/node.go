package cni

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"proa.dev/kit/dump"
)

// prepare makes what all pods of the node share.
func (b *routed) prepare() (err error) {
	if err := os.MkdirAll(b.leases.dir, 0o700); err != nil {
		return fmt.Errorf("make lease directory: %w", err)
	}
	if b.cfg.MTU == 0 {
		b.cfg.MTU = uplinkMTU(b.nl)
	}
	if b.group, err = b.setUpBridge(); err != nil {
		return err
	}
	if err := b.ports.prepare(b.cfg); err != nil { // before forwarding: it guards the loopback addresses
		return err
	}
	return b.settings().apply(b.settingsFile())
}

func checkRanges(cfg Config) error {
	if len(cfg.PodCIDRs) == 0 {
		return errors.New("network plugin: no pod range")
	}
	if len(cfg.Bridge) >= unix.IFNAMSIZ {
		return fmt.Errorf("network plugin: bridge name %q is longer than %d bytes", cfg.Bridge, unix.IFNAMSIZ-1)
	}
	seen := map[bool]bool{}
	for _, r := range cfg.PodCIDRs {
		if !r.IsValid() || r.Addr().BitLen()-r.Bits() < 2 {
			return fmt.Errorf("network plugin: pod range %v has no room for pods", r)
		}
		if seen[r.Addr().Is4()] {
			return fmt.Errorf("network plugin: pod range %s is the second of its family", r)
		}
		seen[r.Addr().Is4()] = true
	}
	return nil
}

// uplinkMTU is the MTU of the link that the default route leaves by, or 1500.
func uplinkMTU(nl *netlink.Handle) int {
	const usual = 1500
	routes, err := dump.Whole(func() ([]netlink.Route, error) {
		return nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return usual
	}
	for _, r := range routes {
		if ones := maskBits(r.Dst); ones != 0 || r.LinkIndex == 0 || r.Type != unix.RTN_UNICAST {
			continue
		}
		if l, err := nl.LinkByIndex(r.LinkIndex); err == nil && l.Attrs().MTU > 0 {
			return l.Attrs().MTU
		}
	}
	return usual
}

func maskBits(n *net.IPNet) int {
	if n == nil {
		return 0
	}
	ones, _ := n.Mask.Size()
	return ones
}

// setUpBridge makes the bridge, or adopts the one that is there, gives it the gateway addresses and returns the group of its
// pods' links.
func (b *routed) setUpBridge() (group uint32, err error) {
	l, err := makeBridge(b.nl, b.cfg.Bridge, b.cfg.MTU)
	if err != nil {
		return 0, err
	}
	for _, r := range b.cfg.PodCIDRs {
		gw := gateway(r)
		a := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(gw, gw.BitLen())), Flags: unix.IFA_F_NODAD}
		if err := b.nl.AddrReplace(l, a); err != nil {
			return 0, fmt.Errorf("give %s the address %s: %w", b.cfg.Bridge, gw, err)
		}
	}
	return groupOf(l), nil
}

// makeBridge makes a bridge that is up, or finds it. mtu 0 leaves that to the kernel.
func makeBridge(nl *netlink.Handle, name string, mtu int) (netlink.Link, error) {
	l, err := nl.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		br := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
		br.Name, br.MTU = name, mtu
		if err = nl.LinkAdd(br); err == nil {
			l, err = nl.LinkByName(name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make bridge %s: %w", name, err)
	}
	if l.Type() != "bridge" {
		return nil, fmt.Errorf("link %s is a %s, not a bridge: choose another bridge name", name, l.Type())
	}
	if err := nl.LinkSetUp(l); err != nil {
		return nil, fmt.Errorf("bring %s up: %w", name, err)
	}
	return l, nil
}

// removeBridge removes it with its addresses and routes; one that is gone already is no error.
func removeBridge(nl *netlink.Handle, name string) error {
	l, err := nl.LinkByName(name)
	if err == nil {
		err = nl.LinkDel(l)
	}
	if err := ignoreGone(err); err != nil {
		return fmt.Errorf("remove bridge %s: %w", name, err)
	}
	return nil
}

// bridgeLeft is how Leftovers tells of a bridge.
func bridgeLeft(nl *netlink.Handle, name string) []string {
	if _, err := nl.LinkByName(name); err != nil {
		return nil
	}
	return []string{"bridge " + name}
}

// groupOf is the link group ("pr" and the index of the bridge) of the pods of one bridge.
func groupOf(bridge netlink.Link) uint32 { return 0x7072<<16 | uint32(bridge.Attrs().Index)&0xffff }

// nodeMAC is the address of the node's end of every veth. Pods have it as a permanent neighbour, so nobody has to ask for it.
func nodeMAC() net.HardwareAddr { return net.HardwareAddr{0x02, 'p', 'r', 'o', 'a', 0} }

// podMAC is the address of the pod's end, by its IP address: when an address is given to another pod, neighbours need not learn.
func podMAC(a netip.Addr) net.HardwareAddr {
	raw := a.AsSlice()
	return append(net.HardwareAddr{0x02, 'p'}, raw[len(raw)-4:]...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func single(a netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(a, a.BitLen())) }

// settings are the kernel's switches that pods need for all of the node.
func (b *routed) settings() sysctls {
	out := sysctls{"net/ipv4/ip_forward": "1"}
	if b.hasIPv6() {
		out["net/ipv6/conf/all/forwarding"] = "1"
		// A router ignores router advertisements, unless told twice; a node whose own default route comes from them needs them.
		for _, link := range listensToRouters() {
			out["net/ipv6/conf/"+link+"/accept_ra"] = "2"
		}
	}
	return out
}

// listensToRouters are the links with accept_ra=1.
func listensToRouters() []string {
	files, _ := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra") // the pattern is sound
	var out []string
	for _, f := range files {
		raw, err := os.ReadFile(f)
		link := filepath.Base(filepath.Dir(f))
		if err == nil && strings.TrimSpace(string(raw)) == "1" && link != "all" && link != "default" && link != "lo" {
			out = append(out, link)
		}
	}
	return out
}

func (b *routed) settingsFile() string { return filepath.Join(b.cfg.StateDir, "sysctl.json") }

func (b *routed) hasIPv6() bool {
	return slices.ContainsFunc(b.cfg.PodCIDRs, func(r netip.Prefix) bool { return r.Addr().Is6() })
}

// linkSettings are those of the node's end of one veth: replies of host ports may lead to 127.0.0.1 (the table guards it from
// the rest), and no pod announces routes to the node. (disable_ipv6 would do more, but it spins while others change links.)
func linkSettings(link string) sysctls {
	return sysctls{"net/ipv4/conf/" + link + "/route_localnet": "1", "net/ipv6/conf/" + link + "/accept_ra": "0"}
}
