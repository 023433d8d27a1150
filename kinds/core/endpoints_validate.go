package core

import (
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

func validateEndpoints(o *core.Endpoints) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		for i, s := range o.Subsets {
			p := field.NewPath("subsets").Index(i)
			if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
				e.Required(p, "must specify `addresses` or `notReadyAddresses`")
			}
			for j, a := range s.Addresses {
				endpointAddress(e, p.Child("addresses").Index(j), a)
			}
			for j, a := range s.NotReadyAddresses {
				endpointAddress(e, p.Child("notReadyAddresses").Index(j), a)
			}
			for j, port := range s.Ports {
				endpointPort(e, p.Child("ports").Index(j), port, len(s.Ports) > 1)
			}
		}
	})
}

func endpointAddress(e *check.Errors, p *field.Path, a core.EndpointAddress) {
	e.IP(p.Child("ip"), a.IP, nil)
	if a.Hostname != "" {
		e.Label(p.Child("hostname"), a.Hostname)
	}
	if a.NodeName != nil {
		e.Subdomain(p.Child("nodeName"), *a.NodeName)
	}
	EndpointIP(e, p.Child("ip"), a.IP)
}

func endpointPort(e *check.Errors, p *field.Path, port core.EndpointPort, needsName bool) {
	if port.Name != "" {
		e.Label(p.Child("name"), port.Name)
	} else if needsName {
		e.Required(p.Child("name"), "")
	}
	e.Port(p.Child("port"), port.Port)
	check.OneOfRequired(e, p.Child("protocol"), port.Protocol, protocols...)
	if port.AppProtocol != nil {
		e.QualifiedName(p.Child("appProtocol"), *port.AppProtocol)
	}
}
