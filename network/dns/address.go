package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"proa.dev/kit/dump"
)

// Local is the DNS address of the cluster as an address of this node: pods reach the server there without any rule.
type Local struct {
	link  string
	addrs []netip.Addr
	nl    *netlink.Handle
}

// Address describes addresses on a link: the bridge of network/cni, or "lo" where there is none. It acts on the network
// namespace of the calling thread; the kernel is left alone until Set.
func Address(link string, addrs ...netip.Addr) (*Local, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &Local{link, addrs, nl}, nil
}

// Set puts the addresses on the link. Repeating it is harmless. Listen after it.
func (l *Local) Set() error {
	link, err := l.nl.LinkByName(l.link)
	if err != nil {
		return fmt.Errorf("put the DNS address on %s: %w", l.link, err)
	}
	for _, a := range l.addrs {
		if err := l.nl.AddrReplace(link, entry32(a)); err != nil {
			return fmt.Errorf("put the DNS address %s on %s: %w", a, l.link, err)
		}
	}
	return nil
}

func entry32(a netip.Addr) *netlink.Addr {
	n := a.BitLen()
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(n, n)}, Flags: unix.IFA_F_NODAD}
}

// Cleanup removes the addresses.
func (l *Local) Cleanup(context.Context) error {
	link, err := l.nl.LinkByName(l.link)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the DNS address from %s: %w", l.link, err)
	}
	var errs error
	for _, a := range l.addrs {
		if err := l.nl.AddrDel(link, entry32(a)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = errors.Join(errs, fmt.Errorf("remove the DNS address %s: %w", a, err))
		}
	}
	return errs
}

// Leftovers lists what Cleanup would remove, for people.
func (l *Local) Leftovers() ([]string, error) {
	link, err := l.nl.LinkByName(l.link)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	have, err := dump.Whole(func() ([]netlink.Addr, error) {
		return l.nl.AddrList(link, netlink.FAMILY_ALL)
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", l.link, err)
	}
	var out []string
	for _, h := range have {
		for _, a := range l.addrs {
			if h.IP.Equal(a.AsSlice()) {
				out = append(out, fmt.Sprintf("address %s on %s", a, l.link))
			}
		}
	}
	return out, nil
}

// Close closes the netlink socket; the addresses stay.
func (l *Local) Close() { l.nl.Close() }
