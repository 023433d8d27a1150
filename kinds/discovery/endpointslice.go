package discovery

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
)

// EndpointSlice is discovery.k8s.io/v1 EndpointSlice: up to a thousand of the addresses behind a Service.
var EndpointSlice = kinds.Def[discovery.EndpointSlice, *discovery.EndpointSlice]{
	Path:           "discovery.k8s.io/v1/endpointslices",
	ValidateCreate: func(s *discovery.EndpointSlice) field.ErrorList { return validateSlice(s, nil) },
	ValidateUpdate: validateSlice,
	Warn:           warnSlice,
	Default: func(s *discovery.EndpointSlice) {
		for i := range s.Ports {
			p := &s.Ports[i]
			if p.Name == nil {
				p.Name = ptr.To("")
			}
			if p.Protocol == nil {
				p.Protocol = ptr.To(core.ProtocolTCP)
			}
		}
	},
	Prepare: func(s, old *discovery.EndpointSlice) {
		if old == nil || !equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
			for i := range s.Endpoints {
				s.Endpoints[i].DeprecatedTopology = nil // v1 shows it, and does not take it
			}
		}
		if old == nil {
			s.Generation = 1
			return
		}
		// The generation follows everything but metadata, and labels too: they name the Service.
		if s.Generation = old.Generation; !equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) ||
			!equality.Semantic.DeepEqual(s.Ports, old.Ports) || s.AddressType != old.AddressType ||
			!equality.Semantic.DeepEqual(s.Labels, old.Labels) {
			s.Generation++
		}
	},
	Columns: kinds.Columns("Name", "AddressType|"+discovery.EndpointSlice{}.SwaggerDoc()["addressType"],
		"Ports|"+discovery.EndpointSlice{}.SwaggerDoc()["ports"],
		"Endpoints|"+discovery.EndpointSlice{}.SwaggerDoc()["endpoints"], "Age"),
	Row: func(s *discovery.EndpointSlice, now time.Time) []any {
		return []any{s.Name, string(s.AddressType), ports(s.Ports), addresses(s.Endpoints), kinds.Age(s.CreationTimestamp, now)}
	},
}

func ports(list []discovery.EndpointPort) string {
	var out []string
	for _, p := range list {
		switch {
		case p.Port != nil:
			out = append(out, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			out = append(out, *p.Name)
		default:
			out = append(out, "*")
		}
	}
	return three(out)
}

func addresses(list []discovery.Endpoint) string {
	var out []string
	for _, e := range list {
		out = append(out, e.Addresses...)
	}
	return three(out)
}

func three(list []string) string {
	if len(list) > 3 {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:3], ","), len(list)-3)
	}
	if s := strings.Join(list, ","); s != "" {
		return s
	}
	return "<unset>"
}

// warnSlice leaves out the slices of controllers, which write addresses as they should be.
func warnSlice(s, old *discovery.EndpointSlice) (out []string) {
	if old == nil && s.AddressType == discovery.AddressTypeFQDN {
		out = append(out, "spec.addressType: FQDN endpoints are deprecated")
	}
	switch s.Labels[discovery.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return out
	}
	for i := range s.Endpoints {
		for j, a := range s.Endpoints[i].Addresses {
			out = append(out, utilvalidation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), a)...)
		}
	}
	return out
}
