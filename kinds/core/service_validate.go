package core

import (
	"fmt"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"proa.dev/kinds/check"
)

var portsPath, clusterIPsPath = specPath.Child("ports"), specPath.Child("clusterIPs")

// ValidateServiceIPs checks the cluster addresses of s and their families, as they stand before any is handed out.
func ValidateServiceIPs(s, old *core.Service) field.ErrorList {
	return check.Run(func(e *check.Errors) { clusterIPs(e, s, old) })
}

func validateService(s *core.Service) field.ErrorList {
	return check.Run(func(e *check.Errors) { checkService(e, s, nil) })
}

// checkService checks s by itself; addresses that old has may stay in a form that new ones may not have.
func checkService(e *check.Errors, s, old *core.Service) {
	if hints, ok := s.Annotations[core.DeprecatedAnnotationTopologyAwareHints]; ok {
		if mode, ok := s.Annotations[core.AnnotationTopologyMode]; ok && mode != hints {
			e.Invalid(metaPath.Child("annotations").Key(core.AnnotationTopologyMode), mode,
				fmt.Sprintf("must match annotations[%s] when both are specified", core.DeprecatedAnnotationTopologyAwareHints))
		}
	}
	if len(s.Spec.Ports) == 0 && !isHeadless(s) && s.Spec.Type != core.ServiceTypeExternalName {
		e.Required(portsPath, "")
	}
	serviceType(e, s)
	servicePorts(e, s)
	e.Labels(specPath.Child("selector"), s.Spec.Selector)
	sessionAffinity(e, s)
	clusterIPs(e, s, old)
	externalIPs(e, s, old)
	check.OneOfRequired(e, specPath.Child("type"), s.Spec.Type,
		core.ServiceTypeClusterIP, core.ServiceTypeExternalName, core.ServiceTypeLoadBalancer, core.ServiceTypeNodePort)
	nodePorts(e, s)
	loadBalancer(e, s, old)
	trafficPolicies(e, s)
}

func isHeadless(s *core.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == core.ClusterIPNone
}

func serviceType(e *check.Errors, s *core.Service) {
	switch s.Spec.Type {
	case core.ServiceTypeLoadBalancer, core.ServiceTypeNodePort:
		if isHeadless(s) {
			e.Invalid(clusterIPsPath.Index(0), s.Spec.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", s.Spec.Type))
		}
	case core.ServiceTypeExternalName:
		const not = "may not be set for ExternalName services"
		if len(s.Spec.ClusterIPs) > 0 {
			e.Forbidden(clusterIPsPath, not)
		}
		if len(s.Spec.IPFamilies) > 0 {
			e.Forbidden(specPath.Child("ipFamilies"), not)
		}
		if s.Spec.IPFamilyPolicy != nil {
			e.Forbidden(specPath.Child("ipFamilyPolicy"), not)
		}
		if name := strings.TrimSuffix(s.Spec.ExternalName, "."); name != "" {
			e.Subdomain(specPath.Child("externalName"), name)
		} else {
			e.Required(specPath.Child("externalName"), "")
		}
	}
}

func servicePorts(e *check.Errors, s *core.Service) {
	names := map[string]bool{}
	for i, port := range s.Spec.Ports {
		p := portsPath.Index(i)
		if port.Name == "" {
			if len(s.Spec.Ports) > 1 {
				e.Required(p.Child("name"), "")
			}
		} else {
			e.Label(p.Child("name"), port.Name)
			if names[port.Name] {
				e.Duplicate(p.Child("name"), port.Name)
			}
			names[port.Name] = true
		}
		e.Port(p.Child("port"), port.Port)
		check.OneOfRequired(e, p.Child("protocol"), port.Protocol, protocols...)
		e.PortOrName(p.Child("targetPort"), port.TargetPort)
		if port.AppProtocol != nil {
			e.QualifiedName(p.Child("appProtocol"), *port.AppProtocol)
		}
	}
}

// nodePorts finds ports that are named twice, and node ports where there are none.
func nodePorts(e *check.Errors, s *core.Service) {
	type key struct {
		core.Protocol
		port int32
	}
	onNode, own := map[key]bool{}, map[key]bool{}
	for i, port := range s.Spec.Ports {
		if port.NodePort == 0 {
			continue
		}
		p := portsPath.Index(i).Child("nodePort")
		if s.Spec.Type == core.ServiceTypeClusterIP {
			e.Forbidden(p, "may not be used when `type` is 'ClusterIP'")
		}
		k := key{port.Protocol, port.NodePort}
		if onNode[k] {
			e.Duplicate(p, port.NodePort)
		}
		onNode[k] = true
	}
	for i, port := range s.Spec.Ports {
		k := key{port.Protocol, port.Port}
		if own[k] {
			e.Duplicate(portsPath.Index(i), core.ServicePort{Protocol: port.Protocol, Port: port.Port})
		}
		own[k] = true
	}
}

// maxAffinity is a day.
const maxAffinity = 86400

func sessionAffinity(e *check.Errors, s *core.Service) {
	p, c := specPath.Child("sessionAffinityConfig"), s.Spec.SessionAffinityConfig
	check.OneOfRequired(e, specPath.Child("sessionAffinity"), s.Spec.SessionAffinity, core.ServiceAffinityClientIP, core.ServiceAffinityNone)
	switch s.Spec.SessionAffinity {
	case core.ServiceAffinityClientIP:
		const when = "when session affinity type is ClientIP"
		switch {
		case c == nil:
			e.Required(p, when)
		case c.ClientIP == nil:
			e.Required(p.Child("clientIP"), when)
		case c.ClientIP.TimeoutSeconds == nil:
			e.Required(p.Child("clientIP", "timeoutSeconds"), when)
		default:
			if t := *c.ClientIP.TimeoutSeconds; t <= 0 || t > maxAffinity {
				e.Invalid(p.Child("clientIP", "timeoutSeconds"), t, fmt.Sprintf("must be greater than 0 and less than %d", maxAffinity))
			}
		}
	case core.ServiceAffinityNone:
		if c != nil {
			e.Forbidden(p, "must not be set when session affinity is None")
		}
	}
}

func clusterIPs(e *check.Errors, s, old *core.Service) {
	if s.Spec.Type == core.ServiceTypeExternalName {
		return
	}
	ips := s.Spec.ClusterIPs
	switch {
	case s.Spec.ClusterIP == "" && len(ips) > 0:
		e.Invalid(clusterIPsPath, ips, "must be empty when `clusterIP` is not specified")
	case s.Spec.ClusterIP != "" && len(ips) == 0:
		e.Required(clusterIPsPath, "")
	case s.Spec.ClusterIP != "" && ips[0] != s.Spec.ClusterIP:
		e.Invalid(clusterIPsPath, ips, "first value must match `clusterIP`")
	}
	for i, f := range s.Spec.IPFamilies {
		check.OneOf(e, specPath.Child("ipFamilies").Index(i), f, core.IPv4Protocol, core.IPv6Protocol)
		if slices.Contains(s.Spec.IPFamilies[:i], f) {
			e.Duplicate(specPath.Child("ipFamilies").Index(i), f)
		}
	}
	if p := s.Spec.IPFamilyPolicy; p != nil {
		check.OneOf(e, specPath.Child("ipFamilyPolicy"), *p,
			core.IPFamilyPolicyPreferDualStack, core.IPFamilyPolicyRequireDualStack, core.IPFamilyPolicySingleStack)
	}
	var before []string
	if old != nil {
		before = old.Spec.ClusterIPs
	}
	found := len(e.List)
	for i, ip := range ips {
		if i > 0 || ip != core.ClusterIPNone {
			e.IP(clusterIPsPath.Index(i), ip, before)
		} else if len(ips) > 1 {
			e.Invalid(clusterIPsPath, ips, "'None' must be the first and only value")
		}
	}
	bad := len(e.List) > found
	if len(ips) > 2 {
		e.Invalid(clusterIPsPath, ips, "may only hold up to 2 values")
	}
	if !bad {
		clusterIPFamilies(e, s)
	}
}

func clusterIPFamilies(e *check.Errors, s *core.Service) {
	ips := s.Spec.ClusterIPs
	if len(ips) > 1 {
		if dual, err := netutils.IsDualStackIPStrings(ips); err == nil && !dual {
			e.Invalid(clusterIPsPath, ips, "may specify no more than one IP for each IP family")
		}
	}
	if isHeadless(s) {
		return
	}
	for i, ip := range ips[:min(len(ips), len(s.Spec.IPFamilies))] {
		want, six := s.Spec.IPFamilies[i], netutils.IsIPv6String(ip)
		if want == core.IPv4Protocol && six || want == core.IPv6Protocol && !six {
			e.Invalid(clusterIPsPath.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%v]`", want, i))
		}
	}
}

func externalIPs(e *check.Errors, s, old *core.Service) {
	var before []string
	if old != nil {
		before = old.Spec.ExternalIPs
	}
	for i, ip := range s.Spec.ExternalIPs {
		found := len(e.List)
		if e.IP(specPath.Child("externalIPs").Index(i), ip, before); len(e.List) == found {
			EndpointIP(e, specPath.Child("externalIPs").Index(i), ip)
		}
	}
}

// EndpointIP wants an address that a service can forward to: not one that means something else on every node.
func EndpointIP(e *check.Errors, p *field.Path, v string) {
	ip := netutils.ParseIPSloppy(v)
	switch {
	case ip == nil:
		e.Invalid(p, v, "must be a valid IP address")
	case ip.IsUnspecified():
		e.Invalid(p, v, fmt.Sprintf("may not be unspecified (%v)", v))
	case ip.IsLoopback():
		e.Invalid(p, v, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	case ip.IsLinkLocalUnicast():
		e.Invalid(p, v, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	case ip.IsLinkLocalMulticast():
		e.Invalid(p, v, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
}

const onlyBalanced = "may only be used when `type` is 'LoadBalancer'"

func loadBalancer(e *check.Errors, s, old *core.Service) {
	is := s.Spec.Type == core.ServiceTypeLoadBalancer
	p := specPath.Child("LoadBalancerSourceRanges")
	annotated, ok := s.Annotations[core.AnnotationLoadBalancerSourceRangesKey]
	switch {
	case len(s.Spec.LoadBalancerSourceRanges) > 0:
		if !is {
			e.Forbidden(p, onlyBalanced)
		}
		var before []string
		if old != nil {
			before = trimAll(old.Spec.LoadBalancerSourceRanges)
		}
		for i, r := range trimAll(s.Spec.LoadBalancerSourceRanges) {
			e.CIDR(p.Index(i), r, before)
		}
	case ok:
		p = metaPath.Child("annotations").Key(core.AnnotationLoadBalancerSourceRangesKey)
		if !is {
			e.Forbidden(p, onlyBalanced)
		}
		if annotated = strings.TrimSpace(annotated); annotated != "" {
			for _, r := range trimAll(strings.Split(annotated, ",")) {
				e.CIDR(p, r, nil)
			}
		}
	}
	if s.Spec.AllocateLoadBalancerNodePorts != nil && !is {
		e.Forbidden(specPath.Child("allocateLoadBalancerNodePorts"), onlyBalanced)
	}
	if s.Spec.AllocateLoadBalancerNodePorts == nil && is {
		e.Required(field.NewPath("allocateLoadBalancerNodePorts"), "")
	}
	loadBalancerClass(e, s)
}

func loadBalancerClass(e *check.Errors, s *core.Service) {
	switch p, c := specPath.Child("loadBalancerClass"), s.Spec.LoadBalancerClass; {
	case c == nil:
	case s.Spec.Type == core.ServiceTypeLoadBalancer:
		e.QualifiedName(p, *c)
	default:
		e.Forbidden(p, onlyBalanced)
	}
}

func trimAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.TrimSpace(s)
	}
	return out
}

// needsHealthCheck says that nodes tell a load balancer whether they have pods of s.
func needsHealthCheck(s *core.Service) bool {
	return s.Spec.Type == core.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == core.ServiceExternalTrafficPolicyLocal
}

func trafficPolicies(e *check.Errors, s *core.Service) {
	p := specPath.Child("externalTrafficPolicy")
	if externallyAccessible(s) {
		check.OneOfRequired(e, p, s.Spec.ExternalTrafficPolicy, core.ServiceExternalTrafficPolicyCluster, core.ServiceExternalTrafficPolicyLocal)
	} else if s.Spec.ExternalTrafficPolicy != "" {
		e.Invalid(p, s.Spec.ExternalTrafficPolicy, "may only be set for externally-accessible services")
	}
	switch p, port := specPath.Child("healthCheckNodePort"), s.Spec.HealthCheckNodePort; {
	case !needsHealthCheck(s):
		if port != 0 {
			e.Invalid(p, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
		}
	case port == 0:
		e.Required(p, "")
	default:
		e.Invalids(p, port, utilvalidation.IsValidPortNum(int(port)))
	}
	p = specPath.Child("internalTrafficPolicy")
	if v := s.Spec.InternalTrafficPolicy; v != nil {
		check.OneOf(e, p, *v, core.ServiceInternalTrafficPolicyCluster, core.ServiceInternalTrafficPolicyLocal)
	} else if t := s.Spec.Type; t == core.ServiceTypeClusterIP || t == core.ServiceTypeNodePort || t == core.ServiceTypeLoadBalancer {
		e.Required(p, "")
	}
	if v := s.Spec.TrafficDistribution; v != nil {
		check.OneOf(e, specPath.Child("trafficDistribution"), *v, core.ServiceTrafficDistributionPreferClose,
			core.ServiceTrafficDistributionPreferSameZone, core.ServiceTrafficDistributionPreferSameNode)
	}
}
