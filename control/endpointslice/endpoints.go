//lint:file-ignore SA1019 Endpoints are deprecated, but clients still read them: they are served and kept.

package endpointslice

import (
	"cmp"
	"maps"
	"slices"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
	"proa.dev/object"
)

const (
	endpointsManagedBy    = "endpoints.kubernetes.io/managed-by"
	endpointsController   = "endpoint-controller"
	maxEndpointsAddresses = 1000
)

// planEndpoints says how the Endpoints object (nil: there is none) becomes that of svc and its members.
func planEndpoints(svc *core.Service, ms []member, have *core.Endpoints) []control.Change {
	n := &core.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name}}
	if have != nil {
		n = object.Clone(have)
	}
	n.Subsets = subsets(svc, ms)
	n.Labels = maps.Clone(svc.Labels)
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	delete(n.Labels, headlessLabel)
	if headless(svc) {
		n.Labels[headlessLabel] = ""
	}
	n.Labels[endpointsManagedBy] = endpointsController
	delete(n.Annotations, core.EndpointsOverCapacity)
	if truncate(n.Subsets) {
		if n.Annotations == nil {
			n.Annotations = map[string]string{}
		}
		n.Annotations[core.EndpointsOverCapacity] = "truncated"
	}
	switch {
	case have == nil:
		return []control.Change{{Op: control.Create, Object: n, Refused: control.Note{
			On: svc, Reason: "FailedToCreateEndpoint",
			Format: "Failed to create endpoint for service " + svc.Namespace + "/" + svc.Name + ": %[1]v",
		}}}
	case equality.Semantic.DeepEqual(have, n):
		return nil
	}
	return []control.Change{{Op: control.Update, Object: n, Refused: control.Note{
		On: svc, Reason: "FailedToUpdateEndpoint",
		Format: "Failed to update endpoint " + svc.Namespace + "/" + svc.Name + ": %[1]v",
	}}}
}

// subsets groups addresses by the ports that they have, ready and not ready apart, in a stable order.
func subsets(svc *core.Service, ms []member) []core.EndpointSubset {
	family := families(svc)[0]
	byPorts := map[string]*core.EndpointSubset{}
	for _, m := range ms {
		ip := ipOf(m.pod, family)
		if ip == "" || m.pod.DeletionTimestamp != nil && !svc.Spec.PublishNotReadyAddresses || len(m.ports) == 0 && !portless(svc) {
			continue
		}
		a := core.EndpointAddress{IP: ip, TargetRef: podRef(m.pod)}
		if m.pod.Spec.NodeName != "" {
			a.NodeName = new(m.pod.Spec.NodeName)
		}
		if hasHostname(svc, m.pod) {
			a.Hostname = m.pod.Spec.Hostname
		}
		s := byPorts[portsKey(m.ports)]
		if s == nil {
			s = &core.EndpointSubset{Ports: legacyPorts(m.ports)}
			byPorts[portsKey(m.ports)] = s
		}
		if svc.Spec.PublishNotReadyAddresses || control.Ready(m.pod) {
			s.Addresses = append(s.Addresses, a)
		} else {
			s.NotReadyAddresses = append(s.NotReadyAddresses, a)
		}
	}
	var out []core.EndpointSubset
	for _, key := range slices.Sorted(maps.Keys(byPorts)) {
		s := *byPorts[key]
		sortAddresses(s.Addresses)
		sortAddresses(s.NotReadyAddresses)
		out = append(out, s)
	}
	return out
}

func sortAddresses(as []core.EndpointAddress) {
	slices.SortFunc(as, func(a, b core.EndpointAddress) int {
		return cmp.Or(cmp.Compare(a.IP, b.IP), cmp.Compare(a.TargetRef.UID, b.TargetRef.UID))
	})
}

func legacyPorts(ports []discovery.EndpointPort) []core.EndpointPort {
	var out []core.EndpointPort
	for _, p := range ports {
		out = append(out, core.EndpointPort{
			Name: control.Or(p.Name, ""), Port: control.Or(p.Port, 0), Protocol: control.Or(p.Protocol, core.ProtocolTCP), AppProtocol: p.AppProtocol,
		})
	}
	return out
}

// truncate cuts subsets, in place, to 1,000 addresses in all, and says whether it had to. Ready addresses stay first; subsets share what is
// left in proportion.
func truncate(subsets []core.EndpointSubset) bool {
	ready, notReady := 0, 0
	for _, s := range subsets {
		ready += len(s.Addresses)
		notReady += len(s.NotReadyAddresses)
	}
	if ready+notReady <= maxEndpointsAddresses {
		return false
	}
	keepReady := min(ready, maxEndpointsAddresses)
	keepNotReady := maxEndpointsAddresses - keepReady
	for i := range subsets {
		s := &subsets[i]
		if ready > 0 {
			s.Addresses = s.Addresses[:len(s.Addresses)*keepReady/ready]
		}
		if notReady > 0 {
			s.NotReadyAddresses = s.NotReadyAddresses[:len(s.NotReadyAddresses)*keepNotReady/notReady]
		}
	}
	return true
}
