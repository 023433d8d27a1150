package podcidr

import (
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
)

// hostBits is the size of a node's part: 256 addresses.
const hostBits = 8

// First is the first part of each range: that of the machine which runs the server.
func First(cluster []netip.Prefix) (own []netip.Prefix) {
	for _, p := range cluster {
		own = append(own, netip.PrefixFrom(p.Masked().Addr(), partBits(p)))
	}
	return own
}

func partBits(p netip.Prefix) int { return max(p.Bits(), p.Addr().BitLen()-hostBits) }

// assign finds the parts for a node that has none: the lowest place at which no other node has a part of any range. nil means that no
// place is free.
func assign(cluster []netip.Prefix, taken []netip.Prefix) (own []netip.Prefix) {
	for place := 1; ; place++ { // the first is the server's
		own = own[:0]
		for _, r := range cluster {
			part, ok := nth(r, place)
			if !ok {
				return nil
			}
			own = append(own, part)
		}
		if !slices.ContainsFunc(own, func(p netip.Prefix) bool { return slices.ContainsFunc(taken, p.Overlaps) }) {
			return own
		}
	}
}

// nth is the part of r at a place, from 0.
func nth(r netip.Prefix, place int) (netip.Prefix, bool) {
	raw := r.Masked().Addr().AsSlice()
	for at := len(raw) - 1 - hostBits/8; place > 0 && at >= 0; at-- {
		place += int(raw[at])
		raw[at] = byte(place)
		place >>= 8
	}
	a, _ := netip.AddrFromSlice(raw) // as long as it was
	part := netip.PrefixFrom(a, partBits(r))
	return part, place == 0 && r.Contains(a)
}

// takenBy lists the parts of all nodes.
func takenBy(nodes []*core.Node) (taken []netip.Prefix) {
	for _, n := range nodes {
		for _, text := range n.Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(text); err == nil { // the API checks it
				taken = append(taken, p)
			}
		}
	}
	return taken
}
