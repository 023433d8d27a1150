package core

import (
	"slices"

	core "k8s.io/api/core/v1"
)

// dropTypeDependentFields clears what the old type of a Service needed and the new one must not have, unless the same write
// changes it, which then is an error.
func dropTypeDependentFields(s, old *core.Service) {
	if old == nil {
		return
	}
	now, was := &s.Spec, &old.Spec
	if now.Type == core.ServiceTypeExternalName && was.Type != core.ServiceTypeExternalName {
		if now.ClusterIP == was.ClusterIP && slices.Equal(now.ClusterIPs, was.ClusterIPs) {
			now.ClusterIP, now.ClusterIPs = "", nil
		}
		if slices.Equal(now.IPFamilies, was.IPFamilies) {
			now.IPFamilies = nil
		}
		if samePtr(now.IPFamilyPolicy, was.IPFamilyPolicy) {
			now.IPFamilyPolicy = nil
		}
	}
	if needsNodePort(old) && !needsNodePort(s) && noNewNodePorts(s, old) {
		for i := range now.Ports {
			now.Ports[i].NodePort = 0
		}
	}
	if needsHealthCheck(old) && !needsHealthCheck(s) && now.HealthCheckNodePort == was.HealthCheckNodePort {
		now.HealthCheckNodePort = 0
	}
	if was.Type == core.ServiceTypeLoadBalancer && now.Type != core.ServiceTypeLoadBalancer {
		if now.AllocateLoadBalancerNodePorts != nil && samePtr(now.AllocateLoadBalancerNodePorts, was.AllocateLoadBalancerNodePorts) {
			now.AllocateLoadBalancerNodePorts = nil
		}
		if samePtr(now.LoadBalancerClass, was.LoadBalancerClass) {
			now.LoadBalancerClass = nil
		}
	}
	if externallyAccessible(old) && !externallyAccessible(s) && now.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		now.ExternalTrafficPolicy = ""
	}
	if now.Type != core.ServiceTypeLoadBalancer {
		s.Status.LoadBalancer = core.LoadBalancerStatus{}
	}
}

func needsNodePort(s *core.Service) bool {
	return s.Spec.Type == core.ServiceTypeNodePort || s.Spec.Type == core.ServiceTypeLoadBalancer
}

func noNewNodePorts(s, old *core.Service) bool {
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 && !slices.ContainsFunc(old.Spec.Ports, func(o core.ServicePort) bool { return o.NodePort == p.NodePort }) {
			return false
		}
	}
	return true
}
