package admission

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/object"
)

// admit gives a service its addresses and node ports, and keeps those it has.
func (a *addresses) admit(ctx context.Context, r *Request) error {
	if r.Op != Create && r.Op != Update || !r.Is("", "services") || len(a.ranges) == 0 {
		return nil
	}
	select {
	case <-a.synced:
	case <-ctx.Done():
		return ctx.Err()
	}
	now := r.Object.(*core.Service)
	old, _ := r.Old.(*core.Service)
	key := object.Key{Namespace: r.Key.Namespace, Name: now.Name}
	inherit(now, old)
	alignIPs(now, old)
	a.mu.Lock()
	defer a.mu.Unlock()
	w := &grant{a: a, key: key}
	r.OnFailure(w.release)
	var errs field.ErrorList
	if now.Spec.Type != core.ServiceTypeExternalName {
		errs = a.families(now, old)
		if len(errs) == 0 && now.Spec.ClusterIP != core.ClusterIPNone {
			errs = w.addresses(now)
		}
	}
	if len(errs) == 0 {
		errs = w.ports(now)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), now.Name, errs)
	}
	return nil
}

// inherit keeps what was allocated before and the client left out.
func inherit(now, old *core.Service) {
	if old == nil || old.Spec.Type == core.ServiceTypeExternalName || now.Spec.Type == core.ServiceTypeExternalName {
		return
	}
	if now.Spec.ClusterIP == "" && len(now.Spec.ClusterIPs) == 0 {
		now.Spec.ClusterIP, now.Spec.ClusterIPs = old.Spec.ClusterIP, slices.Clone(old.Spec.ClusterIPs)
	}
	if len(now.Spec.IPFamilies) == 0 {
		now.Spec.IPFamilies = slices.Clone(old.Spec.IPFamilies)
	}
	if now.Spec.IPFamilyPolicy == nil {
		now.Spec.IPFamilyPolicy = old.Spec.IPFamilyPolicy
	}
	if !wantsPorts(now) || !wantsPorts(old) {
		return
	}
	used := map[int32]bool{}
	for _, p := range now.Spec.Ports {
		used[p.NodePort] = true
	}
	for i := range now.Spec.Ports {
		p := &now.Spec.Ports[i]
		for _, was := range old.Spec.Ports {
			if p.NodePort == 0 && was.Port == p.Port && was.Protocol == p.Protocol && was.NodePort != 0 && !used[was.NodePort] {
				p.NodePort = was.NodePort
				used[was.NodePort] = true
			}
		}
	}
	if needsHealthPort(now) && needsHealthPort(old) && now.Spec.HealthCheckNodePort == 0 {
		now.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

// alignIPs makes clusterIP and the first of clusterIPs the same.
func alignIPs(now, old *core.Service) {
	sp := &now.Spec
	switch {
	case len(sp.ClusterIPs) == 0 && sp.ClusterIP != "":
		sp.ClusterIPs = []string{sp.ClusterIP}
	case len(sp.ClusterIPs) > 0 && sp.ClusterIP == "":
		if old != nil && slices.Equal(sp.ClusterIPs, old.Spec.ClusterIPs) {
			sp.ClusterIPs = nil // an old client took the address away by the only field that it knows
			return
		}
		sp.ClusterIP = sp.ClusterIPs[0]
	case old != nil && sp.ClusterIP != old.Spec.ClusterIP && slices.Equal(sp.ClusterIPs, old.Spec.ClusterIPs):
		sp.ClusterIPs = []string{sp.ClusterIP}
	}
}

func familyOf(ip netip.Addr) core.IPFamily {
	if ip.Is4() {
		return core.IPv4Protocol
	}
	return core.IPv6Protocol
}

// families fills in the families and the policy, from what is given and what the cluster has.
func (a *addresses) families(s, old *core.Service) (errs field.ErrorList) {
	sp, at := &s.Spec, field.NewPath("spec")
	headless := sp.ClusterIP == core.ClusterIPNone
	bare := headless && len(sp.Selector) == 0
	if sp.IPFamilyPolicy == nil {
		policy := core.IPFamilyPolicySingleStack
		if bare {
			policy = core.IPFamilyPolicyRequireDualStack
		}
		sp.IPFamilyPolicy = &policy
	}
	single := *sp.IPFamilyPolicy == core.IPFamilyPolicySingleStack
	if old != nil && single { // a change of the policy alone lets go of the second family
		if slices.Equal(old.Spec.ClusterIPs, sp.ClusterIPs) && len(sp.ClusterIPs) > 1 {
			sp.ClusterIPs = sp.ClusterIPs[:1]
		}
		if slices.Equal(old.Spec.IPFamilies, sp.IPFamilies) && len(sp.IPFamilies) > 1 {
			sp.IPFamilies = sp.IPFamilies[:1]
		}
	}
	if single && (len(sp.ClusterIPs) > 1 || len(sp.IPFamilies) > 1) {
		errs = append(errs, field.Invalid(at.Child("ipFamilyPolicy"), *sp.IPFamilyPolicy,
			"must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs or IP families are specified"))
	}
	for i, text := range sp.ClusterIPs {
		ip, err := netip.ParseAddr(text)
		if err != nil || i < len(sp.IPFamilies) {
			continue // validation speaks of malformed addresses
		}
		if !a.has(familyOf(ip)) {
			errs = append(errs, field.Invalid(at.Child("clusterIPs").Index(i), sp.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", familyOf(ip))))
			continue
		}
		sp.IPFamilies = append(sp.IPFamilies, familyOf(ip))
	}
	if len(errs) > 0 {
		return errs
	}
	if !bare {
		if *sp.IPFamilyPolicy == core.IPFamilyPolicyRequireDualStack && len(a.ranges) < 2 {
			errs = append(errs, field.Invalid(at.Child("ipFamilyPolicy"), *sp.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
		}
		for i, f := range sp.IPFamilies {
			if !a.has(f) {
				errs = append(errs, field.Invalid(at.Child("ipFamilies").Index(i), f, "not configured on this cluster"))
			}
		}
		if len(errs) > 0 {
			return errs
		}
	}
	if len(sp.IPFamilies) == 0 {
		sp.IPFamilies = []core.IPFamily{familyOf(a.ranges[0].Addr())}
	}
	if *sp.IPFamilyPolicy != core.IPFamilyPolicySingleStack && len(sp.IPFamilies) == 1 && (bare || len(a.ranges) == 2) {
		other := core.IPv6Protocol
		if sp.IPFamilies[0] == core.IPv6Protocol {
			other = core.IPv4Protocol
		}
		sp.IPFamilies = append(sp.IPFamilies, other)
	}
	return nil
}

func (a *addresses) has(f core.IPFamily) bool {
	return slices.ContainsFunc(a.ranges, func(r netip.Prefix) bool { return familyOf(r.Addr()) == f })
}

// grant is what one write has been given.
type grant struct {
	a     *addresses
	key   object.Key
	ips   []netip.Addr
	nodes []port
}

// release gives back what the write got, if it does not happen.
func (g *grant) release() {
	g.a.mu.Lock()
	defer g.a.mu.Unlock()
	for _, ip := range g.ips {
		if g.a.flight[ip] == g.key {
			delete(g.a.flight, ip)
		}
	}
	for _, p := range g.nodes {
		if g.a.flightP[p] == g.key {
			delete(g.a.flightP, p)
		}
	}
}

// addresses takes the addresses that s names and finds those that it lacks, one per family.
func (g *grant) addresses(s *core.Service) (errs field.ErrorList) {
	sp, at := &s.Spec, field.NewPath("spec", "clusterIPs")
	for i, f := range sp.IPFamilies {
		if i < len(sp.ClusterIPs) {
			ip, err := netip.ParseAddr(sp.ClusterIPs[i])
			if err != nil {
				continue
			}
			if err := g.a.take(ip, g.key); err != nil {
				errs = append(errs, field.Invalid(at, sp.ClusterIPs, err.Error()))
				continue
			}
			g.ips = append(g.ips, ip)
			continue
		}
		ip, err := g.a.nextOf(f, g.key)
		if err != nil {
			return append(errs, field.InternalError(at, err))
		}
		g.ips = append(g.ips, ip)
		sp.ClusterIPs = append(sp.ClusterIPs, ip.String())
	}
	if len(sp.ClusterIPs) > 0 {
		sp.ClusterIP = sp.ClusterIPs[0]
	}
	return errs
}

// wantsPorts says whether the service has node ports.
func wantsPorts(s *core.Service) bool {
	switch s.Spec.Type {
	case core.ServiceTypeNodePort:
		return true
	case core.ServiceTypeLoadBalancer:
		return s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

func needsHealthPort(s *core.Service) bool {
	return s.Spec.Type == core.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == core.ServiceExternalTrafficPolicyLocal
}

// ports takes the node ports that s names and finds those that it lacks. Two ports that differ in protocol only share a number.
func (g *grant) ports(s *core.Service) (errs field.ErrorList) {
	at := field.NewPath("spec", "ports")
	mine := map[port]bool{}
	byPort := map[int32]int32{}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.NodePort == 0 {
			continue
		}
		want := port{p.Protocol, p.NodePort}
		if mine[want] {
			continue // validation speaks of duplicates
		}
		if err := g.a.takePort(want, g.key); err != nil {
			errs = append(errs, field.Invalid(at.Index(i).Child("nodePort"), p.NodePort, err.Error()))
			continue
		}
		mine[want] = true
		byPort[p.Port] = p.NodePort
		g.nodes = append(g.nodes, want)
	}
	if !wantsPorts(s) || len(errs) > 0 {
		return errs
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.NodePort != 0 {
			continue
		}
		if n := byPort[p.Port]; n != 0 && g.a.takePort(port{p.Protocol, n}, g.key) == nil {
			p.NodePort = n
		} else {
			var err error
			if p.NodePort, err = g.a.nextPort(p.Protocol, g.key); err != nil {
				return append(errs, field.InternalError(at.Index(i).Child("nodePort"), err))
			}
		}
		byPort[p.Port] = p.NodePort
		g.nodes = append(g.nodes, port{p.Protocol, p.NodePort})
	}
	if needsHealthPort(s) {
		return append(errs, g.healthPort(s)...)
	}
	return errs
}

func (g *grant) healthPort(s *core.Service) (errs field.ErrorList) {
	at := field.NewPath("spec", "healthCheckNodePort")
	if n := s.Spec.HealthCheckNodePort; n != 0 {
		if err := g.a.takePort(port{core.ProtocolTCP, n}, g.key); err != nil {
			return field.ErrorList{field.Invalid(at, n, err.Error())}
		}
		g.nodes = append(g.nodes, port{core.ProtocolTCP, n})
		return nil
	}
	n, err := g.a.nextPort(core.ProtocolTCP, g.key)
	if err != nil {
		return field.ErrorList{field.InternalError(at, err)}
	}
	s.Spec.HealthCheckNodePort = n
	g.nodes = append(g.nodes, port{core.ProtocolTCP, n})
	return nil
}
