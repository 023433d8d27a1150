package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/object"
)

var errPortTaken = errors.New("provided port is already allocated")

// addresses hands out the cluster addresses and node ports of services. What is taken is what the services in the View have, plus what has
// been handed out to writes that the View does not show yet.
type addresses struct {
	ranges   []netip.Prefix
	ports    [2]int32
	reserved netip.Addr // for default/kubernetes
	synced   chan struct{}
	ledger   *ledger

	mu      sync.Mutex // guards below
	ips     map[netip.Addr]object.Key
	nodes   map[int32]object.Key
	flight  map[netip.Addr]object.Key
	flightP map[int32]object.Key
	held    map[netip.Addr]object.Key // by IPAddresses of others
	more    map[string][]netip.Prefix // further ranges, by their ServiceCIDR
}

func newAddresses(d Deps) (*addresses, error) {
	a := &addresses{ranges: d.Ranges, ports: [2]int32{30000, 32767}, synced: make(chan struct{}), ips: map[netip.Addr]object.Key{},
		nodes: map[int32]object.Key{}, flight: map[netip.Addr]object.Key{}, flightP: map[int32]object.Key{},
		held: map[netip.Addr]object.Key{}, more: map[string][]netip.Prefix{}}
	if d.NodePorts != [2]int{} {
		a.ports = [2]int32{int32(d.NodePorts[0]), int32(d.NodePorts[1])}
	}
	if a.ports[0] < 1 || a.ports[1] > 65535 || a.ports[0] > a.ports[1] {
		return nil, fmt.Errorf("node ports %d-%d are no range", a.ports[0], a.ports[1])
	}
	for i, r := range d.Ranges {
		a.ranges[i] = r.Masked()
		if i > 0 && r.Addr().Is4() == d.Ranges[0].Addr().Is4() || i > 1 {
			return nil, fmt.Errorf("service ranges %v: at most one of each family", d.Ranges)
		}
	}
	if len(a.ranges) > 0 {
		a.reserved = a.ranges[0].Addr().Next()
	}
	return a, nil
}

// follow keeps what is taken in step with the services there are.
func (a *addresses) follow(ctx context.Context, view client.View) error {
	return client.Watch(ctx, view, func(t client.EventType, now, old *core.Service) {
		if t == client.Synced {
			close(a.synced)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		key := object.Key{}
		if now != nil {
			key = object.KeyOf(now)
		}
		if old == nil && t == client.Deleted {
			old = now
		}
		if old != nil {
			for _, ip := range addressesOf(old) {
				if a.ips[ip] == key {
					delete(a.ips, ip)
				}
			}
			for p := range portsOf(old) {
				if a.nodes[p] == key {
					delete(a.nodes, p)
				}
			}
		}
		if old != nil {
			defer a.ledger.mark(addressesOf(old)...)
		}
		if t == client.Deleted {
			return
		}
		defer a.ledger.mark(addressesOf(now)...)
		for _, ip := range addressesOf(now) {
			a.ips[ip] = key
			delete(a.flight, ip)
		}
		for p := range portsOf(now) {
			a.nodes[p] = key
			delete(a.flightP, p)
		}
	})
}

// addressesOf are the cluster addresses of a service.
func addressesOf(s *core.Service) []netip.Addr {
	var out []netip.Addr
	for _, text := range s.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil {
			out = append(out, ip)
		}
	}
	return out
}

// portsOf are the node ports of a service.
func portsOf(s *core.Service) map[int32]bool {
	out := map[int32]bool{}
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			out[p.NodePort] = true
		}
	}
	if n := s.Spec.HealthCheckNodePort; n != 0 {
		out[n] = true
	}
	return out
}

// take reserves an address for a service. Nil: it is the service's already, or it was free.
func (a *addresses) take(ip netip.Addr, key object.Key) error {
	if err := a.within(ip); err != nil {
		return err
	}
	if ip == a.reserved && key != kubernetesKey {
		return fmt.Errorf("failed to allocate IP %s: provided IP is already allocated", ip)
	}
	if owner, taken := a.owner(ip); taken && owner != key {
		return fmt.Errorf("failed to allocate IP %s: provided IP is already allocated", ip)
	}
	a.flight[ip] = key
	return nil
}

// within says what is wrong with an address that no range has.
func (a *addresses) within(ip netip.Addr) error {
	r, ok := a.rangeOf(ip)
	if !ok || ip == r.Addr() || ip == last(r) {
		return fmt.Errorf("failed to allocate IP %s: the provided IP (%s) is not in the valid range. The range of valid IPs is %s", ip, ip, r)
	}
	return nil
}

func (a *addresses) owner(ip netip.Addr) (object.Key, bool) {
	if k, ok := a.ips[ip]; ok {
		return k, true
	}
	if k, ok := a.flight[ip]; ok {
		return k, ok
	}
	k, ok := a.held[ip]
	return k, ok
}

// rangesOf are the ranges of a family: the configured one first, then those of ServiceCIDRs, by name.
func (a *addresses) rangesOf(f core.IPFamily) (out []netip.Prefix) {
	all := slices.Clone(a.ranges)
	for _, name := range slices.Sorted(maps.Keys(a.more)) {
		all = append(all, a.more[name]...)
	}
	for _, r := range all {
		if familyOf(r.Addr()) == f {
			out = append(out, r)
		}
	}
	return out
}

// rangeOf is the range of an address. If there is none, it is the first of the family, for the error.
func (a *addresses) rangeOf(ip netip.Addr) (netip.Prefix, bool) {
	all := a.rangesOf(familyOf(ip))
	for _, r := range all {
		if r.Contains(ip) {
			return r, true
		}
	}
	if len(all) == 0 {
		return a.ranges[0], false
	}
	return all[0], false
}

// nextOf finds a free address in the ranges of a family.
func (a *addresses) nextOf(f core.IPFamily, key object.Key) (ip netip.Addr, err error) {
	err = errors.New("failed to allocate a serviceIP: range is full")
	for _, r := range a.rangesOf(f) {
		if ip, err = a.next(r, key); err == nil {
			return ip, nil
		}
	}
	return ip, err
}

// next finds a free address. The lowest sixteenth of a range, at most 256, is left for addresses that people choose, as long as there
// are others (KEP-3070).
func (a *addresses) next(r netip.Prefix, key object.Key) (netip.Addr, error) {
	size := int64(1) << min(r.Addr().BitLen()-r.Bits(), 16) // of a large IPv6 range the first 2^16 do
	low := min(max(16, size/16), 256)
	if low >= size-2 {
		low = 0
	}
	for _, band := range [][2]int64{{low + 1, size - 1}, {1, low + 1}} {
		n := band[1] - band[0]
		if n <= 0 {
			continue
		}
		start := rand.Int64N(n)
		for i := range n {
			ip := at(r, band[0]+(start+i)%n)
			if _, taken := a.owner(ip); taken || ip == a.reserved || ip == last(r) {
				continue
			}
			a.flight[ip] = key
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("failed to allocate a serviceIP: range is full")
}

// at is the n-th address of a range.
func at(r netip.Prefix, n int64) netip.Addr {
	b := r.Addr().As16()
	sum := new(big.Int).Add(new(big.Int).SetBytes(b[:]), big.NewInt(n))
	sum.FillBytes(b[:])
	ip := netip.AddrFrom16(b)
	if r.Addr().Is4() {
		return ip.Unmap()
	}
	return ip
}

// last is the broadcast address of an IPv4 range; of IPv6 none is left out.
func last(r netip.Prefix) netip.Addr {
	if !r.Addr().Is4() || r.Bits() >= 31 {
		return netip.Addr{}
	}
	return at(r, int64(1)<<(32-r.Bits())-1)
}

// takePort reserves a node port for a service.
func (a *addresses) takePort(n int32, key object.Key) error {
	if n < a.ports[0] || n > a.ports[1] {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %d-%d", a.ports[0], a.ports[1])
	}
	if err := a.freePort(n, key); err != nil {
		return err
	}
	a.flightP[n] = key
	return nil
}

// freePort says whether another service has a node port.
func (a *addresses) freePort(n int32, key object.Key) error {
	if owner, taken := a.portOwner(n); taken && owner != key {
		return errPortTaken
	}
	return nil
}

func (a *addresses) portOwner(n int32) (object.Key, bool) {
	if k, ok := a.nodes[n]; ok {
		return k, true
	}
	k, ok := a.flightP[n]
	return k, ok
}

// nextPort finds a free node port.
func (a *addresses) nextPort(key object.Key) (int32, error) {
	n := a.ports[1] - a.ports[0] + 1
	start := rand.Int32N(n)
	for i := range n {
		p := a.ports[0] + (start+i)%n
		if _, taken := a.portOwner(p); !taken {
			a.flightP[p] = key
			return p, nil
		}
	}
	return 0, fmt.Errorf("failed to allocate a nodePort: range is full")
}
