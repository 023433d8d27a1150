package core

import (
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"proa.dev/kinds/check"
)

func validateServiceUpdate(s, old *core.Service) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if s.Spec.Type != core.ServiceTypeExternalName && old.Spec.Type != core.ServiceTypeExternalName {
			clusterIPChange(e, s, old)
			familyChange(e, s, old)
		}
		if s.Spec.Type == core.ServiceTypeLoadBalancer && old.Spec.Type == core.ServiceTypeLoadBalancer && !samePtr(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
			e.Invalid(specPath.Child("loadBalancerClass"), s.Spec.LoadBalancerClass, "may not change once set")
		}
		loadBalancerClass(e, s) // Kubernetes looks at it twice: its causes come twice
		if needsHealthCheck(s) && needsHealthCheck(old) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
			e.Forbidden(specPath.Child("healthCheckNodePort"), "field is immutable")
		}
		checkService(e, s, old)
	})
}

func samePtr[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

const onceSet = "may not change once set"

func clusterIPChange(e *check.Errors, s, old *core.Service) {
	now, was := s.Spec.ClusterIPs, old.Spec.ClusterIPs
	if isHeadless(s) && isHeadless(old) {
		return
	}
	switch {
	case len(was) == len(now):
		for i := range was {
			if was[i] != now[i] {
				e.Invalid(clusterIPsPath.Index(i), now, onceSet)
			}
		}
		return
	case len(now) == 0:
		e.Invalid(clusterIPsPath.Index(0), now, "primary clusterIP can not be unset")
	case len(was) > 0 && now[0] != was[0]:
		e.Invalid(clusterIPsPath.Index(0), now, onceSet)
	}
	if len(was) > len(now) && len(now) == 1 && !singleStack(s) {
		e.Invalid(specPath.Child("ipFamilyPolicy"), s.Spec.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary clusterIP")
	}
}

func familyChange(e *check.Errors, s, old *core.Service) {
	p := specPath.Child("ipFamilies")
	now, was := s.Spec.IPFamilies, old.Spec.IPFamilies
	if isHeadless(s) || isHeadless(old) {
		return
	}
	switch {
	case len(was) == len(now):
		for i := range was {
			if was[i] != now[i] {
				e.Invalid(p.Index(0), now, onceSet)
			}
		}
		return
	case len(was) > len(now) && len(s.Spec.ClusterIPs) == 0:
		e.Invalid(p.Index(0), now, "primary ipFamily can not be unset")
	}
	if len(now) > 0 && len(was) > 0 && now[0] != was[0] {
		e.Invalid(p.Index(0), s.Spec.ClusterIPs, onceSet)
	}
	if len(was) > len(now) && len(now) == 1 && !singleStack(s) {
		e.Invalid(specPath.Child("ipFamilyPolicy"), s.Spec.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary ipFamily")
	}
}

func singleStack(s *core.Service) bool {
	return s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == core.IPFamilyPolicySingleStack
}

func validateServiceStatus(s, old *core.Service) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p := statusPath.Child("loadBalancer", "ingress")
		if s.Spec.Type != core.ServiceTypeLoadBalancer {
			if len(s.Status.LoadBalancer.Ingress) > 0 {
				e.Forbidden(p, "may only be used when `spec.type` is 'LoadBalancer'")
			}
			return
		}
		var before []string
		for _, in := range old.Status.LoadBalancer.Ingress {
			before = append(before, in.IP)
		}
		for i, in := range s.Status.LoadBalancer.Ingress {
			loadBalancerIngress(e, p.Index(i), in, before)
		}
	})
}

func loadBalancerIngress(e *check.Errors, p *field.Path, in core.LoadBalancerIngress, before []string) {
	if in.IP != "" {
		e.IP(p.Child("ip"), in.IP, before)
	}
	switch {
	case in.IPMode == nil && in.IP != "":
		e.Required(p.Child("ipMode"), "must be specified when `ip` is set")
	case in.IPMode == nil:
	case in.IP == "":
		e.Forbidden(p.Child("ipMode"), "may not be specified when `ip` is not set")
	default:
		check.OneOf(e, p.Child("ipMode"), *in.IPMode, core.LoadBalancerIPModeProxy, core.LoadBalancerIPModeVIP)
	}
	if in.Hostname != "" {
		e.Subdomain(p.Child("hostname"), in.Hostname)
		if netutils.ParseIPSloppy(in.Hostname) != nil {
			e.Invalid(p.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address")
		}
	}
}
