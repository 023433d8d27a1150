//lint:file-ignore SA1019 Endpoints are deprecated, but clients still read them: they are served and kept.

package endpointslice

import (
	"maps"
	"slices"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"

	"proa.dev/control"
)

const leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"

// mirrored says whether Endpoints of a Service without selector are to be mirrored.
func mirrored(e *core.Endpoints) bool {
	_, leader := e.Annotations[leaderAnnotation]
	return e.DeletionTimestamp == nil && e.Labels[discovery.LabelSkipMirror] != "true" && !leader
}

// mirrorGroups is the addresses of Endpoints that somebody wrote by hand, in groups.
func mirrorGroups(e *core.Endpoints) []group {
	byKey := map[string]*group{}
	for _, s := range e.Subsets {
		ports := make([]discovery.EndpointPort, 0, len(s.Ports))
		for _, p := range s.Ports {
			ports = append(ports, discovery.EndpointPort{Name: new(p.Name), Port: new(p.Port), Protocol: new(p.Protocol), AppProtocol: p.AppProtocol})
		}
		slices.SortFunc(ports, comparePorts)
		add := func(addresses []core.EndpointAddress, ready bool) {
			for _, a := range addresses[:min(len(addresses), maxEndpointsAddresses)] {
				family := typeOf(a.IP)
				if family == "" {
					continue
				}
				key := string(family) + portsKey(ports)
				if byKey[key] == nil {
					byKey[key] = &group{family: family, ports: ports}
				}
				ep := discovery.Endpoint{
					Addresses: []string{a.IP}, Conditions: discovery.EndpointConditions{Ready: &ready},
					TargetRef: a.TargetRef, NodeName: a.NodeName,
				}
				if a.Hostname != "" {
					ep.Hostname = new(a.Hostname)
				}
				byKey[key].endpoints = append(byKey[key].endpoints, ep)
			}
		}
		add(s.Addresses, true)
		add(s.NotReadyAddresses, false)
	}
	var out []group
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		out = append(out, *byKey[key])
	}
	return out
}

// mirrorTemplate is what mirrored slices have in common.
func mirrorTemplate(e *core.Endpoints) template {
	t := template{owner: e, service: e.Name, managedBy: MirrorManagedBy, labels: map[string]string{}, annotations: map[string]string{}}
	for k, v := range e.Labels {
		if k != discovery.LabelServiceName && k != discovery.LabelManagedBy && k != endpointsManagedBy {
			t.labels[k] = v
		}
	}
	for k, v := range e.Annotations {
		if k != core.LastAppliedConfigAnnotation && k != core.EndpointsLastChangeTriggerTime {
			t.annotations[k] = v
		}
	}
	return t
}

// planMirror says how the mirrored slices of a Service become those of its Endpoints (nil: there are none to mirror).
func planMirror(e *core.Endpoints, have []*discovery.EndpointSlice) []control.Change {
	if e == nil {
		var changes []control.Change
		for _, s := range have {
			changes = append(changes, control.Change{Op: control.Delete, Object: s})
		}
		return changes
	}
	return planSlices(mirrorTemplate(e), mirrorGroups(e), have)
}
