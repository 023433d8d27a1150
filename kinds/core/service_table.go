package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/kinds"
)

func serviceRow(s *core.Service, now time.Time) []any {
	ip := "<none>"
	if len(s.Spec.ClusterIPs) > 0 {
		ip = s.Spec.ClusterIPs[0]
	}
	ports := make([]string, len(s.Spec.Ports))
	for i, p := range s.Spec.Ports {
		if ports[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol); p.NodePort > 0 {
			ports[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return []any{
		s.Name, string(s.Spec.Type), ip, externalIP(s), orNone(strings.Join(ports, ",")), kinds.Age(s.CreationTimestamp, now),
		labels.FormatLabels(s.Spec.Selector),
	}
}

func externalIP(s *core.Service) string {
	switch s.Spec.Type {
	case core.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case core.ServiceTypeLoadBalancer:
		if all := append(LoadBalancerAddresses(s.Status.LoadBalancer), s.Spec.ExternalIPs...); len(all) > 0 {
			return strings.Join(all, ",")
		}
		return "<pending>"
	}
	return orNone(strings.Join(s.Spec.ExternalIPs, ","))
}

// LoadBalancerAddresses are the addresses and names under which a load balancer is reached, sorted.
func LoadBalancerAddresses(s core.LoadBalancerStatus) []string {
	var out []string
	for _, in := range s.Ingress {
		if a := or(in.IP, in.Hostname); a != "" {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
