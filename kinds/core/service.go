package core

import (
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/kinds"
	"proa.dev/kinds/core/servicewarn"
)

// Service is v1 Service: a name and an address for a changing set of pods. Its addresses and node ports are handed out by admission.
var Service = kinds.Def[core.Service, *core.Service]{
	Path:           "v1/services",
	Short:          []string{"svc"},
	Categories:     []string{"all"},
	Status:         true,
	Storage:        "services/specs",
	Name:           kinds.LabelName,
	Subs:           []kinds.Sub{{Name: "proxy", GVK: "v1/ServiceProxyOptions", Verbs: proxyVerbs, Connecting: true}},
	Default:        defaultService,
	Prepare:        prepareService,
	ValidateCreate: validateService, ValidateUpdate: validateServiceUpdate, ValidateStatus: validateServiceStatus,
	Warn: servicewarn.Service,
	Fields: func(s *core.Service) map[string]string {
		return map[string]string{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
	},
	Columns: kinds.Described(kinds.Columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector+"),
		core.ServiceSpec{}.SwaggerDoc()["type"], core.ServiceSpec{}.SwaggerDoc()["clusterIP"], core.ServiceSpec{}.SwaggerDoc()["externalIPs"],
		core.ServiceSpec{}.SwaggerDoc()["ports"], core.ServiceSpec{}.SwaggerDoc()["selector"]),
	Row: serviceRow,
}

func defaultService(s *core.Service) {
	orElse(&s.Spec.SessionAffinity, core.ServiceAffinityNone)
	switch a := s.Spec.SessionAffinityConfig; {
	case s.Spec.SessionAffinity == core.ServiceAffinityNone:
		s.Spec.SessionAffinityConfig = nil
	case s.Spec.SessionAffinity == core.ServiceAffinityClientIP && (a == nil || a.ClientIP == nil || a.ClientIP.TimeoutSeconds == nil):
		timeout := core.DefaultClientIPServiceAffinitySeconds
		s.Spec.SessionAffinityConfig = &core.SessionAffinityConfig{ClientIP: &core.ClientIPConfig{TimeoutSeconds: &timeout}}
	}
	orElse(&s.Spec.Type, core.ServiceTypeClusterIP)
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		orElse(&p.Protocol, core.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if externallyAccessible(s) {
		orElse(&s.Spec.ExternalTrafficPolicy, core.ServiceExternalTrafficPolicyCluster)
	}
	switch s.Spec.Type {
	case core.ServiceTypeLoadBalancer:
		orPtr(&s.Spec.AllocateLoadBalancerNodePorts, true)
		for i := range s.Status.LoadBalancer.Ingress {
			if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" {
				orPtr(&in.IPMode, core.LoadBalancerIPModeVIP)
			}
		}
		orPtr(&s.Spec.InternalTrafficPolicy, core.ServiceInternalTrafficPolicyCluster)
	case core.ServiceTypeNodePort, core.ServiceTypeClusterIP:
		orPtr(&s.Spec.InternalTrafficPolicy, core.ServiceInternalTrafficPolicyCluster)
	}
}

// externallyAccessible says whether traffic from outside the cluster can reach s.
func externallyAccessible(s *core.Service) bool {
	return s.Spec.Type == core.ServiceTypeLoadBalancer || s.Spec.Type == core.ServiceTypeNodePort ||
		s.Spec.Type == core.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0
}

func prepareService(s, old *core.Service) {
	dropTypeDependentFields(s, old)
	if p := s.Spec.InternalTrafficPolicy; s.Spec.Type == core.ServiceTypeExternalName && p != nil &&
		(*p == core.ServiceInternalTrafficPolicyCluster || *p == core.ServiceInternalTrafficPolicyLocal) {
		s.Spec.InternalTrafficPolicy = nil // it means nothing there; one that is wrong is still refused
	}
}
