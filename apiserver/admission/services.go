package admission

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	kinds "proa.dev/kinds/core"
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
	if old != nil {
		inherit(now, old)
	}
	alignIPs(now, old)
	a.mu.Lock()
	defer a.mu.Unlock()
	w := &grant{a: a, key: key, old: old, dry: r.DryRun}
	r.OnFailure(w.release)
	var errs field.ErrorList
	if now.Spec.Type != core.ServiceTypeExternalName {
		errs = a.families(now, old)
		if len(errs) == 0 && now.Spec.ClusterIP != core.ClusterIPNone {
			errs = w.addresses(now)
		}
	}
	if len(errs) == 0 && (now.Spec.Type == core.ServiceTypeNodePort || now.Spec.Type == core.ServiceTypeLoadBalancer) {
		errs = w.ports(now)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), now.Name, errs)
	}
	if needsHealthPort(now) && (old == nil || !needsHealthPort(old)) {
		return w.healthPort(now)
	}
	return nil
}

// inherit keeps what was allocated before and the client left out.
func inherit(now, old *core.Service) {
	if old.Spec.Type == core.ServiceTypeExternalName || now.Spec.Type == core.ServiceTypeExternalName {
		return
	}
	if now.Spec.ClusterIP == "" {
		now.Spec.ClusterIP = old.Spec.ClusterIP
	}
	if len(now.Spec.ClusterIPs) == 0 {
		now.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
	}
	if len(now.Spec.IPFamilies) == 0 {
		now.Spec.IPFamilies = slices.Clone(old.Spec.IPFamilies)
	}
	if now.Spec.IPFamilyPolicy == nil {
		now.Spec.IPFamilyPolicy = old.Spec.IPFamilyPolicy
	}
	if hasPorts(now) && hasPorts(old) {
		inheritPorts(now.Spec.Ports, old.Spec.Ports)
	}
	if needsHealthPort(now) && needsHealthPort(old) && now.Spec.HealthCheckNodePort == 0 {
		now.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

// inheritPorts knows the ports by their names.
func inheritPorts(now, old []core.ServicePort) {
	used, had := map[int32]bool{}, map[string]int32{}
	for _, p := range old {
		had[p.Name] = p.NodePort
	}
	for _, p := range now {
		used[p.NodePort] = p.NodePort != 0
	}
	for i := range now {
		if n := had[now[i].Name]; now[i].NodePort == 0 && !used[n] {
			now[i].NodePort = n
		}
	}
}

// hasPorts says whether the type of s is one with node ports.
func hasPorts(s *core.Service) bool {
	return s.Spec.Type == core.ServiceTypeNodePort || s.Spec.Type == core.ServiceTypeLoadBalancer
}

// alignIPs makes clusterIP and the first of clusterIPs the same for clients that know of clusterIP only.
func alignIPs(now, old *core.Service) {
	sp := &now.Spec
	if old == nil {
		if len(sp.ClusterIPs) == 0 && sp.ClusterIP != "" {
			sp.ClusterIPs = []string{sp.ClusterIP}
		}
		return
	}
	same := slices.Equal(sp.ClusterIPs, old.Spec.ClusterIPs)
	switch {
	case sp.ClusterIP == old.Spec.ClusterIP:
		if len(sp.ClusterIPs) == 0 {
			sp.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
	case sp.ClusterIP == "" && same:
		sp.ClusterIPs = nil
	case sp.ClusterIP != "" && same:
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
	if errs := kinds.ValidateServiceIPs(s, old); len(errs) > 0 {
		return errs
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
	policy := func(detail string) {
		errs = append(errs, field.Invalid(at.Child("ipFamilyPolicy"), *sp.IPFamilyPolicy, detail))
	}
	if old != nil && !single {
		if len(sp.ClusterIPs) == 1 && len(old.Spec.ClusterIPs) == 2 && sp.ClusterIPs[0] == old.Spec.ClusterIPs[0] {
			policy("must be 'SingleStack' to release the secondary cluster IP")
		}
		if len(sp.IPFamilies) == 1 && len(old.Spec.IPFamilies) == 2 && sp.IPFamilies[0] == old.Spec.IPFamilies[0] {
			policy("must be 'SingleStack' to release the secondary IP family")
		}
	}
	if single && len(sp.ClusterIPs) > 1 {
		policy("must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified")
	}
	if single && len(sp.IPFamilies) > 1 {
		policy("must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified")
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
	old   *core.Service // nil: a new service
	dry   bool          // nothing is taken, and what is handed out is made up: the network's address, and ports behind the last one
	last  int32         // dry: the highest port so far
	ips   []netip.Addr
	nodes []int32
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

// addresses takes the addresses that s names and finds those that it lacks, one per family. What the service has had before is not
// looked at: it cannot change.
func (g *grant) addresses(s *core.Service) (errs field.ErrorList) {
	sp, at := &s.Spec, field.NewPath("spec", "clusterIPs")
	from := 0
	if o := g.old; o != nil && o.Spec.Type != core.ServiceTypeExternalName {
		if from = len(o.Spec.IPFamilies); o.Spec.ClusterIP == core.ClusterIPNone || from != 1 {
			return nil
		}
	}
	for i, f := range sp.IPFamilies {
		if i < from {
			continue
		}
		ip, known := netip.Addr{}, i < len(sp.ClusterIPs)
		var err error
		if known {
			if ip, err = netip.ParseAddr(sp.ClusterIPs[i]); err != nil {
				continue
			}
			err = g.take(ip)
		} else {
			ip, err = g.nextOf(f)
		}
		switch {
		case err != nil && known:
			return append(errs, field.Invalid(at, sp.ClusterIPs, err.Error()))
		case err != nil:
			return append(errs, field.InternalError(at, err))
		case !g.dry:
			g.ips = append(g.ips, ip)
		}
		if !known {
			sp.ClusterIPs = append(sp.ClusterIPs, ip.String())
		}
	}
	if len(sp.ClusterIPs) > 0 {
		sp.ClusterIP = sp.ClusterIPs[0]
	}
	return errs
}

func (g *grant) take(ip netip.Addr) error {
	if g.dry {
		return g.a.within(ip)
	}
	return g.a.take(ip, g.key)
}

func (g *grant) nextOf(f core.IPFamily) (netip.Addr, error) {
	if g.dry {
		return g.a.rangesOf(f)[0].Addr(), nil
	}
	return g.a.nextOf(f, g.key)
}

func (g *grant) takePort(n int32) error {
	g.last = max(g.last, n)
	if g.dry {
		return g.a.freePort(n, g.key)
	}
	if err := g.a.takePort(n, g.key); err != nil {
		return err
	}
	g.nodes = append(g.nodes, n)
	return nil
}

func (g *grant) nextPort() (int32, error) {
	if g.dry {
		g.last = max(g.last, 0) + 1
		if g.last == 1 {
			g.last = 32769
		}
		return g.last, nil
	}
	n, err := g.a.nextPort(g.key)
	if err == nil {
		g.nodes = append(g.nodes, n)
	}
	return n, err
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

// ports takes the node ports that s names and finds those that it lacks. Ports of the service that differ in protocol only share one.
func (g *grant) ports(s *core.Service) (errs field.ErrorList) {
	at := field.NewPath("spec", "ports")
	had := map[int32]bool{}
	if g.old != nil {
		for _, p := range g.old.Spec.Ports {
			had[p.NodePort] = p.NodePort != 0
		}
	}
	owner, byPort := map[int32]int32{}, map[int32]int32{}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.NodePort == 0 {
			continue
		}
		before, mine := owner[p.NodePort]
		owner[p.NodePort] = p.Port
		byPort[p.Port] = p.NodePort
		switch {
		case had[p.NodePort], mine && (before == p.Port || g.old != nil): // validation speaks of duplicates
			continue
		case mine:
			return append(errs, field.Invalid(at.Index(i).Child("nodePort"), p.NodePort, errPortTaken.Error()))
		}
		if err := g.takePort(p.NodePort); err != nil {
			return append(errs, field.Invalid(at.Index(i).Child("nodePort"), p.NodePort, err.Error()))
		}
	}
	if !wantsPorts(s) {
		return nil
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.NodePort != 0 {
			continue
		}
		if n := byPort[p.Port]; n != 0 {
			p.NodePort = n
			continue
		}
		n, err := g.nextPort()
		if err != nil {
			return append(errs, field.InternalError(at.Index(i).Child("nodePort"), err))
		}
		p.NodePort, byPort[p.Port] = n, n
	}
	return nil
}

func (g *grant) healthPort(s *core.Service) error {
	if n := s.Spec.HealthCheckNodePort; n != 0 {
		if err := g.takePort(n); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %w", n, err))
		}
		return nil
	}
	n, err := g.nextPort()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %v: %w", n, err))
	}
	s.Spec.HealthCheckNodePort = n
	return nil
}
