package service

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"

	"proa.dev/network/nft"
)

// frontend is what a client connects to. For node ports addr is the zero address of the family.
type frontend struct {
	addr  netip.Addr
	proto uint8
	port  uint16
}

// kind says how a frontend is reached, which decides masquerade and policy.
type kind int8

const (
	internal kind = iota // cluster IP
	external             // external IP or load balancer address
	nodePort
)

// front is one frontend of a port with what is particular to it.
type front struct {
	frontend
	kind    kind
	sources []netip.Prefix // who may connect; empty means everybody
}

// port is one port of a Service in one family, with the endpoints it leads to.
type port struct {
	name   string
	family nft.Family
	fronts []front
	// cluster are all endpoints, local those on this node. The index is the slot.
	cluster, local []netip.AddrPort
	// self are the addresses of endpoints that may be pods of this node, and so clients of the port themselves.
	self                         []netip.Addr
	internalLocal, externalLocal bool
	affinity                     time.Duration // 0 for none
}

// site is what the model has to know of the node.
type site struct {
	node, zone string
	// own are addresses that the node serves by itself: no rules for them.
	own []netip.Addr
	// families are those that the cluster has.
	families []nft.Family
}

// families are those of the service ranges; both if there are none.
func families(services []netip.Prefix) []nft.Family {
	var out []nft.Family
	for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		if len(services) == 0 || len(of(f, services)) > 0 {
			out = append(out, f)
		}
	}
	return out
}

// model is what a Service and its slices mean on this node. Headless and ExternalName services mean nothing to a proxy.
func model(svc *core.Service, eps []*discovery.EndpointSlice, s site) []port {
	if svc.Spec.Type == core.ServiceTypeExternalName || len(clusterIPs(svc)) == 0 || svc.Labels[proxyNameLabel] != "" {
		return nil
	}
	var out []port
	for _, f := range s.families {
		if !slices.ContainsFunc(clusterIPs(svc), func(a netip.Addr) bool { return familyOf(a) == f }) {
			continue
		}
		for i := range svc.Spec.Ports {
			p := portModel(svc, &svc.Spec.Ports[i], f, s)
			if len(p.fronts) == 0 {
				continue
			}
			found := endpoints(eps, &svc.Spec.Ports[i], f, s)
			p.cluster, p.local, p.self = found.cluster, found.local, found.self
			out = append(out, p)
		}
	}
	return out
}

// proxyNameLabel on a Service says that another proxy looks after it (KEP-2447).
const proxyNameLabel = "service.kubernetes.io/service-proxy-name"

func familyOf(a netip.Addr) nft.Family {
	if a.Is4() {
		return nft.IPv4
	}
	return nft.IPv6
}

// clusterIPs is the cluster IPs of a Service; none for headless ones and those that have none yet.
func clusterIPs(svc *core.Service) []netip.Addr {
	raw := svc.Spec.ClusterIPs
	if len(raw) == 0 {
		raw = []string{svc.Spec.ClusterIP}
	}
	return parseAddrs(raw)
}

// parseAddrs reads addresses and leaves out what is none ("None", "").
func parseAddrs(raw []string) []netip.Addr {
	var out []netip.Addr
	for _, r := range raw {
		if a, err := netip.ParseAddr(r); err == nil {
			out = append(out, a.Unmap().WithZone(""))
		}
	}
	return out
}

func portModel(svc *core.Service, sp *core.ServicePort, f nft.Family, s site) port {
	p := port{name: sp.Name, family: f,
		internalLocal: svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == core.ServiceInternalTrafficPolicyLocal,
		externalLocal: svc.Spec.ExternalTrafficPolicy == core.ServiceExternalTrafficPolicyLocal,
	}
	if svc.Spec.SessionAffinity == core.ServiceAffinityClientIP {
		p.affinity = time.Duration(core.DefaultClientIPServiceAffinitySeconds) * time.Second
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil && *c.ClientIP.TimeoutSeconds > 0 {
			p.affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	proto, ok := protocol(sp.Protocol)
	if !ok {
		return p
	}
	add := func(a netip.Addr, number int32, k kind, sources []netip.Prefix) {
		fe := frontend{a, proto, uint16(number)}
		known := slices.ContainsFunc(p.fronts, func(have front) bool { return have.frontend == fe })
		if familyOf(a) == f && !known && !slices.Contains(s.own, a) {
			p.fronts = append(p.fronts, front{fe, k, sources})
		}
	}
	for _, a := range clusterIPs(svc) {
		add(a, sp.Port, internal, nil)
	}
	for _, a := range parseAddrs(svc.Spec.ExternalIPs) {
		add(a, sp.Port, external, nil)
	}
	sources := sourceRanges(svc.Spec.LoadBalancerSourceRanges)
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IPMode != nil && *in.IPMode == core.LoadBalancerIPModeProxy {
			continue // KEP-1860: traffic to it shall take the way by the load balancer
		}
		for _, a := range parseAddrs([]string{in.IP}) {
			add(a, sp.Port, external, sources)
		}
	}
	if sp.NodePort != 0 {
		any := netip.IPv4Unspecified()
		if f == nft.IPv6 {
			any = netip.IPv6Unspecified()
		}
		add(any, sp.NodePort, nodePort, nil)
	}
	return p
}

// sourceRanges reads the ranges and leaves out what is none. If nothing is left of a list that was not empty, nobody may
// connect.
func sourceRanges(raw []string) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range raw {
		if p, err := netip.ParsePrefix(strings.TrimSpace(r)); err == nil {
			out = append(out, p.Masked())
		}
	}
	if len(raw) > 0 && out == nil {
		out = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 32), netip.PrefixFrom(netip.IPv6Unspecified(), 128)}
	}
	return out
}

func protocol(p core.Protocol) (uint8, bool) {
	switch p {
	case core.ProtocolTCP, "":
		return 6, true
	case core.ProtocolUDP:
		return 17, true
	case core.ProtocolSCTP:
		return 132, true
	}
	return 0, false
}

// found is what a port leads to: see port.
type found struct {
	cluster, local []netip.AddrPort
	self           []netip.Addr
}

// endpoints is what a port leads to: the ready endpoints of all nodes and of this one. Where none is ready, those that are
// shutting down but still serve are better than nothing (KEP-1669).
func endpoints(eps []*discovery.EndpointSlice, sp *core.ServicePort, f nft.Family, s site) found {
	var ready, going, localReady, localGoing []netip.AddrPort
	var out found
	near := s.near(eps)
	for _, slice := range eps {
		if (slice.AddressType == discovery.AddressTypeIPv4) != (f == nft.IPv4) || slice.AddressType == discovery.AddressTypeFQDN {
			continue
		}
		number, ok := targetPort(slice, sp)
		if !ok {
			continue
		}
		for i := range slice.Endpoints {
			ep := &slice.Endpoints[i]
			if len(ep.Addresses) == 0 {
				continue
			}
			a, err := netip.ParseAddr(ep.Addresses[0]) // all addresses of an endpoint are the same
			if err != nil || familyOf(a.Unmap()) != f {
				continue
			}
			to, here := netip.AddrPortFrom(a.Unmap(), number), ep.NodeName != nil && *ep.NodeName == s.node
			c := ep.Conditions
			switch {
			case c.Ready == nil || *c.Ready:
				if near(ep) {
					ready = append(ready, to)
				}
				if here {
					localReady = append(localReady, to)
				}
			case (c.Serving == nil || *c.Serving) && c.Terminating != nil && *c.Terminating:
				going = append(going, to)
				if here {
					localGoing = append(localGoing, to)
				}
			default:
				continue
			}
			if here || ep.NodeName == nil {
				out.self = append(out.self, to.Addr())
			}
		}
	}
	out.cluster, out.local = either(ready, going), either(localReady, localGoing)
	slices.SortFunc(out.self, netip.Addr.Compare)
	out.self = slices.Compact(out.self)
	return out
}

// targetPort is the number that a slice gives for a port of the Service.
func targetPort(slice *discovery.EndpointSlice, sp *core.ServicePort) (uint16, bool) {
	for _, p := range slice.Ports {
		name, proto := "", core.ProtocolTCP
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			proto = *p.Protocol
		}
		want := sp.Protocol
		if want == "" {
			want = core.ProtocolTCP
		}
		if name == sp.Name && proto == want && p.Port != nil && *p.Port > 0 && *p.Port < 1<<16 {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// either is a, or b if a is empty, sorted and without duplicates.
func either(a, b []netip.AddrPort) []netip.AddrPort {
	if len(a) == 0 {
		a = b
	}
	slices.SortFunc(a, netip.AddrPort.Compare)
	return slices.Compact(a)
}

// place gives every wanted endpoint a slot: those of before keep theirs, as far as the slots stay dense.
func place(before, want []netip.AddrPort) []netip.AddrPort {
	if len(before) == 0 || len(want) == 0 {
		return want
	}
	pending := make(map[netip.AddrPort]bool, len(want))
	for _, w := range want {
		pending[w] = true
	}
	out := make([]netip.AddrPort, len(want))
	for i, b := range before {
		if i < len(out) && pending[b] {
			out[i] = b
			delete(pending, b)
		}
	}
	i := 0
	for _, w := range want {
		if !pending[w] {
			continue
		}
		for out[i].IsValid() {
			i++
		}
		out[i] = w
	}
	return out
}
