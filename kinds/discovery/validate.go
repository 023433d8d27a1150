package discovery

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
)

// Limits of a slice.
const (
	maxTopology  = 16
	maxAddresses = 100
	maxPorts     = 20000
	maxEndpoints = 1000
	maxHints     = 8
)

// validateSlice takes endpoints that have not changed as they were accepted before.
func validateSlice(s, old *discovery.EndpointSlice) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if old != nil {
			defer func() { e.Immutable(field.NewPath("addressType"), s.AddressType, old.AddressType) }()
		}
		check.OneOfRequired(e, field.NewPath("addressType"), s.AddressType,
			discovery.AddressTypeFQDN, discovery.AddressTypeIPv4, discovery.AddressTypeIPv6)
		slicePorts(e, field.NewPath("ports"), s.Ports)
		p := field.NewPath("endpoints")
		if len(s.Endpoints) > maxEndpoints {
			e.Add(field.TooMany(p, len(s.Endpoints), maxEndpoints))
			return
		}
		before := len(e.List)
		for i := range s.Endpoints {
			endpoint(e, p.Index(i), &s.Endpoints[i], s.AddressType)
		}
		if len(e.List) > before && old != nil && equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
			e.List = e.List[:before]
		}
	})
}

func slicePorts(e *check.Errors, p *field.Path, list []discovery.EndpointPort) {
	if len(list) > maxPorts {
		e.Add(field.TooMany(p, len(list), maxPorts))
		return
	}
	seen := map[string]bool{}
	for i, port := range list {
		at, name := p.Index(i), ptr.Deref(port.Name, "")
		if name != "" {
			e.Label(at.Child("name"), name)
		}
		if seen[name] {
			e.Duplicate(at.Child("name"), name)
		}
		seen[name] = true
		if port.Protocol == nil {
			e.Required(at.Child("protocol"), "")
		} else {
			check.OneOf(e, at.Child("protocol"), *port.Protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
		}
		if port.AppProtocol != nil {
			e.QualifiedName(at.Child("appProtocol"), *port.AppProtocol)
		}
	}
}

func endpoint(e *check.Errors, p *field.Path, x *discovery.Endpoint, t discovery.AddressType) {
	at := p.Child("addresses")
	switch n := len(x.Addresses); {
	case n == 0:
		e.Required(at, "must contain at least 1 address")
	case n > maxAddresses:
		e.Add(field.TooMany(at, n, maxAddresses))
	}
	for i, a := range x.Addresses {
		address(e, at, at.Index(i), a, t)
	}
	if x.NodeName != nil {
		e.Subdomain(p.Child("nodeName"), *x.NodeName)
	}
	if n := len(x.DeprecatedTopology); n > maxTopology {
		e.Add(field.TooMany(p.Child("deprecatedTopology"), n, maxTopology))
	}
	if x.Hostname != nil {
		e.Label(p.Child("hostname"), *x.Hostname)
	}
	if x.Hints != nil {
		hints(e, p.Child("hints"), x.Hints)
	}
}

func address(e *check.Errors, list, p *field.Path, a string, t discovery.AddressType) {
	if t == discovery.AddressTypeFQDN {
		e.Add(utilvalidation.IsFullyQualifiedDomainName(p, a)...)
		return
	}
	before := len(e.List)
	if t == discovery.AddressTypeIPv4 {
		e.IP(p, a, nil)
	} else if t == discovery.AddressTypeIPv6 {
		e.Add(utilvalidation.IsValidIP(p, a)...)
	} else {
		return
	}
	if len(e.List) > before {
		return
	}
	switch six := netutils.IsIPv6String(a); {
	case six && t == discovery.AddressTypeIPv4:
		e.Invalid(list, a, "must be an IPv4 address")
	case !six && t == discovery.AddressTypeIPv6:
		e.Invalid(list, a, "must be an IPv6 address")
	}
	core.EndpointIP(e, p, a)
}

func hints(e *check.Errors, p *field.Path, h *discovery.EndpointHints) {
	var zones, nodes []string
	for _, z := range h.ForZones {
		zones = append(zones, z.Name)
	}
	for _, n := range h.ForNodes {
		nodes = append(nodes, n.Name)
	}
	names := func(p *field.Path, list []string, valid func(string) []string) {
		if len(list) > maxHints {
			e.Add(field.TooMany(p, len(list), maxHints))
			return
		}
		for i, n := range list {
			if slices.Contains(list[:i], n) {
				e.Duplicate(p.Index(i).Child("name"), n)
			}
			e.Invalids(p.Index(i).Child("name"), n, valid(n))
		}
	}
	names(p.Child("forZones"), zones, utilvalidation.IsValidLabelValue)
	names(p.Child("forNodes"), nodes, utilvalidation.IsDNS1123Subdomain)
}
