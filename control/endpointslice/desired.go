package endpointslice

import (
	"cmp"
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/control"
)

// member is one pod behind a Service.
type member struct {
	pod   *core.Pod
	ports []discovery.EndpointPort // sorted
	zone  string                   // of its node; "" is not known
}

// members is the pods that belong to svc, in the order of their names. zone tells the zone of a node.
func members(svc *core.Service, pods []*core.Pod, zone func(node string) string) []member {
	var out []member
	for _, p := range pods {
		if control.Finished(p) || len(podIPs(p)) == 0 {
			continue
		}
		out = append(out, member{pod: p, ports: portsOf(svc, p), zone: zone(p.Spec.NodeName)})
	}
	slices.SortFunc(out, func(a, b member) int { return cmp.Compare(a.pod.Name, b.pod.Name) })
	return out
}

func podIPs(p *core.Pod) []string {
	if len(p.Status.PodIPs) == 0 && p.Status.PodIP != "" {
		return []string{p.Status.PodIP}
	}
	var ips []string
	for _, ip := range p.Status.PodIPs {
		if ip.IP != "" {
			ips = append(ips, ip.IP)
		}
	}
	return ips
}

// ipOf is the pod's address of a family, or "".
func ipOf(p *core.Pod, t discovery.AddressType) string {
	for _, ip := range podIPs(p) {
		if typeOf(ip) == t {
			return ip
		}
	}
	return ""
}

// typeOf is the family of an address, or "" if it is none.
func typeOf(ip string) discovery.AddressType {
	a, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return ""
	case a.Is4() || a.Is4In6():
		return discovery.AddressTypeIPv4
	}
	return discovery.AddressTypeIPv6
}

// families is the address families of svc, the primary one first. A Service from before dual stack has the family of its cluster IP.
func families(svc *core.Service) []discovery.AddressType {
	var out []discovery.AddressType
	for _, f := range svc.Spec.IPFamilies {
		out = append(out, discovery.AddressType(f))
	}
	if len(out) == 0 {
		if t := typeOf(svc.Spec.ClusterIP); t != "" {
			return []discovery.AddressType{t}
		}
		return []discovery.AddressType{discovery.AddressTypeIPv4}
	}
	return out
}

// portsOf is the ports of svc as pod p has them. A target port that the pod does not name is left out.
func portsOf(svc *core.Service, p *core.Pod) []discovery.EndpointPort {
	var out []discovery.EndpointPort
	for _, sp := range svc.Spec.Ports {
		n, ok := targetPort(p, sp)
		if !ok {
			continue
		}
		proto := cmp.Or(sp.Protocol, core.ProtocolTCP)
		out = append(out, discovery.EndpointPort{Name: new(sp.Name), Port: new(n), Protocol: &proto, AppProtocol: sp.AppProtocol})
	}
	slices.SortFunc(out, comparePorts)
	return out
}

func comparePorts(a, b discovery.EndpointPort) int {
	return cmp.Or(
		cmp.Compare(control.Or(a.Name, ""), control.Or(b.Name, "")),
		cmp.Compare(control.Or(a.Protocol, ""), control.Or(b.Protocol, "")),
		cmp.Compare(control.Or(a.Port, 0), control.Or(b.Port, 0)),
		cmp.Compare(control.Or(a.AppProtocol, ""), control.Or(b.AppProtocol, "")),
	)
}

func targetPort(p *core.Pod, sp core.ServicePort) (int32, bool) {
	if sp.TargetPort.Type == intstr.Int {
		if sp.TargetPort.IntVal == 0 {
			return sp.Port, true
		}
		return sp.TargetPort.IntVal, true
	}
	proto := cmp.Or(sp.Protocol, core.ProtocolTCP)
	find := func(cs []core.Container, all bool) (int32, bool) {
		for _, c := range cs {
			if !all && control.Or(c.RestartPolicy, "") != core.ContainerRestartPolicyAlways {
				continue // an init container that ends before the pod serves
			}
			for _, port := range c.Ports {
				if port.Name == sp.TargetPort.StrVal && cmp.Or(port.Protocol, core.ProtocolTCP) == proto {
					return port.ContainerPort, true
				}
			}
		}
		return 0, false
	}
	if n, ok := find(p.Spec.Containers, true); ok {
		return n, true
	}
	return find(p.Spec.InitContainers, false)
}

// endpoint is what a slice says of m on one address.
func (m member) endpoint(svc *core.Service, ip string) discovery.Endpoint {
	serving, terminating := control.Ready(m.pod), m.pod.DeletionTimestamp != nil
	e := discovery.Endpoint{
		Addresses: []string{ip},
		Conditions: discovery.EndpointConditions{
			Ready:       new(svc.Spec.PublishNotReadyAddresses || serving && !terminating),
			Serving:     &serving,
			Terminating: &terminating,
		},
		TargetRef: podRef(m.pod),
	}
	if m.pod.Spec.NodeName != "" {
		e.NodeName = new(m.pod.Spec.NodeName)
	}
	if m.zone != "" {
		e.Zone = new(m.zone)
	}
	if hasHostname(svc, m.pod) {
		e.Hostname = new(m.pod.Spec.Hostname)
	}
	return e
}

func podRef(p *core.Pod) *core.ObjectReference {
	return &core.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// hasHostname says whether p has a name of its own below the Service's.
func hasHostname(svc *core.Service, p *core.Pod) bool {
	return p.Spec.Hostname != "" && p.Spec.Subdomain == svc.Name && svc.Namespace == p.Namespace
}

// portless says whether svc has no ports and may: only a headless Service.
func portless(svc *core.Service) bool {
	return len(svc.Spec.Ports) == 0 && svc.Spec.ClusterIP == core.ClusterIPNone
}

// headless is every Service without a cluster IP, assigned or not.
func headless(svc *core.Service) bool {
	return svc.Spec.ClusterIP == core.ClusterIPNone || svc.Spec.ClusterIP == ""
}
