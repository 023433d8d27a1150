package core

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kinds"
)

// Endpoints is v1 Endpoints: the older form of EndpointSlices, one object per Service.
var Endpoints = kinds.Def[core.Endpoints, *core.Endpoints]{
	Path:     "v1/endpoints",
	Singular: "endpoints",
	Short:    []string{"ep"},
	Storage:  "services/endpoints",
	Validate: validateEndpoints,
	Default: func(e *core.Endpoints) {
		for _, s := range e.Subsets {
			for i := range s.Ports {
				orElse(&s.Ports[i].Protocol, core.ProtocolTCP)
			}
		}
	},
	Columns: kinds.Columns("Name", "Endpoints|"+core.Endpoints{}.SwaggerDoc()["subsets"], "Age"),
	Row: func(e *core.Endpoints, now time.Time) []any {
		return []any{e.Name, endpointList(e), kinds.Age(e.CreationTimestamp, now)}
	},
}

// endpointList shows three addresses and how many more there are.
func endpointList(e *core.Endpoints) string {
	if len(e.Subsets) == 0 {
		return "<none>"
	}
	var all []string
	for _, s := range e.Subsets {
		if len(s.Ports) == 0 { // headless without ports
			for _, a := range s.Addresses {
				all = append(all, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	if len(all) > 3 {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:3], ","), len(all)-3)
	}
	return strings.Join(all, ",")
}
