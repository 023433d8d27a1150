package servicewarn

import (
	"fmt"

	core "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Service is about a service.
func Service(s, _ *core.Service) []string {
	var out []string
	headless, external := len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == core.ClusterIPNone, s.Spec.Type == core.ServiceTypeExternalName
	if _, ok := s.Annotations[core.DeprecatedAnnotationTopologyAwareHints]; ok {
		out = append(out, fmt.Sprintf("annotation %s is deprecated, please use %s instead",
			core.DeprecatedAnnotationTopologyAwareHints, core.AnnotationTopologyMode))
	}
	warnIP := func(ip string, names ...string) {
		out = append(out, utilvalidation.GetWarningsForIP(field.NewPath("spec", names...), ip)...)
	}
	if !headless {
		for i, ip := range s.Spec.ClusterIPs {
			warnIP(ip, fmt.Sprintf("clusterIPs[%d]", i))
		}
	}
	if headless {
		if s.Spec.LoadBalancerIP != "" {
			out = append(out, "spec.loadBalancerIP is ignored for headless services")
		}
		if len(s.Spec.ExternalIPs) > 0 {
			out = append(out, "spec.externalIPs is ignored for headless services")
		}
		if s.Spec.SessionAffinity != core.ServiceAffinityNone {
			out = append(out, "spec.SessionAffinity is ignored for headless services")
		}
	}
	for i, ip := range s.Spec.ExternalIPs {
		warnIP(ip, fmt.Sprintf("externalIPs[%d]", i))
	}
	if len(s.Spec.ExternalIPs) > 0 && !headless && !external {
		out = append(out, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	}
	if s.Spec.LoadBalancerIP != "" {
		warnIP(s.Spec.LoadBalancerIP, "loadBalancerIP")
	}
	for i, c := range s.Spec.LoadBalancerSourceRanges {
		out = append(out, utilvalidation.GetWarningsForCIDR(field.NewPath("spec", "loadBalancerSourceRanges").Index(i), c)...)
	}
	if external && len(s.Spec.ExternalIPs) > 0 {
		out = append(out, fmt.Sprintf("spec.externalIPs is ignored when spec.type is %q", core.ServiceTypeExternalName))
	}
	if !external && s.Spec.ExternalName != "" {
		out = append(out, fmt.Sprintf("spec.externalName is ignored when spec.type is not %q", core.ServiceTypeExternalName))
	}
	if d := s.Spec.TrafficDistribution; d != nil && *d == core.ServiceTrafficDistributionPreferClose {
		out = append(out, fmt.Sprintf("spec.trafficDistribution: %q is deprecated; use %q", *d, core.ServiceTrafficDistributionPreferSameZone))
	}
	return out
}
