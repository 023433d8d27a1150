package service

import (
	"slices"

	discovery "k8s.io/api/discovery/v1"
)

// near says which ready endpoints the node shall use by the hints of the slices (KEP-2433, KEP-3015): those for the node itself, else
// those for its zone. Hints count only if every ready endpoint has some and at least one is meant: otherwise a node could be left
// without any, so all are near.
func (s site) near(eps []*discovery.EndpointSlice) func(*discovery.Endpoint) bool {
	forNode := func(ep *discovery.Endpoint) (has, here bool) {
		if ep.Hints == nil {
			return false, false
		}
		here = slices.ContainsFunc(ep.Hints.ForNodes, func(n discovery.ForNode) bool { return n.Name == s.node })
		return len(ep.Hints.ForNodes) > 0, here
	}
	forZone := func(ep *discovery.Endpoint) (has, here bool) {
		if ep.Hints == nil || s.zone == "" {
			return false, false
		}
		here = slices.ContainsFunc(ep.Hints.ForZones, func(z discovery.ForZone) bool { return z.Name == s.zone })
		return len(ep.Hints.ForZones) > 0, here
	}
	for _, hint := range []func(*discovery.Endpoint) (bool, bool){forNode, forZone} {
		if usable(eps, hint) {
			return func(ep *discovery.Endpoint) bool { _, here := hint(ep); return here }
		}
	}
	return func(*discovery.Endpoint) bool { return true }
}

func usable(eps []*discovery.EndpointSlice, hint func(*discovery.Endpoint) (has, here bool)) bool {
	any := false
	for _, slice := range eps {
		for i := range slice.Endpoints {
			ep := &slice.Endpoints[i]
			if r := ep.Conditions.Ready; r != nil && !*r {
				continue
			}
			has, here := hint(ep)
			if !has {
				return false
			}
			any = any || here
		}
	}
	return any
}
