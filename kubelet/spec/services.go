package spec

import (
	"net"
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
)

// ServiceEnv are the variables that name services: KUBERNETES_SERVICE_HOST and its family always, those of the services of the pod's
// namespace if links is set. list gives the services of a namespace.
//
// For a service store with port 6379 they are STORE_SERVICE_HOST, STORE_SERVICE_PORT, STORE_SERVICE_PORT_<NAME> for named ports,
// STORE_PORT=tcp://10.43.0.7:6379, and STORE_PORT_6379_TCP with its _PROTO, _PORT and _ADDR.
func ServiceEnv(list func(namespace string) []*core.Service, namespace string, links bool) []Var {
	seen := map[string]*core.Service{}
	for _, s := range list("default") {
		if s.Name == "kubernetes" && hasIP(s) {
			seen[s.Name] = s
		}
	}
	if links {
		for _, s := range list(namespace) {
			if hasIP(s) && (s.Name != "kubernetes" || seen[s.Name] == nil || namespace != "default") {
				seen[s.Name] = s
			}
		}
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	var vars []Var
	for _, name := range names {
		vars = append(vars, oneService(seen[name])...)
	}
	return vars
}

func hasIP(s *core.Service) bool {
	return s.Spec.ClusterIP != "" && s.Spec.ClusterIP != core.ClusterIPNone && len(s.Spec.Ports) > 0
}

func oneService(s *core.Service) []Var {
	name := variable(s.Name)
	number := func(p int32) string { return strconv.Itoa(int(p)) }
	vars := []Var{
		{name + "_SERVICE_HOST", s.Spec.ClusterIP},
		{name + "_SERVICE_PORT", number(s.Spec.Ports[0].Port)},
	}
	for _, p := range s.Spec.Ports {
		if p.Name != "" {
			vars = append(vars, Var{name + "_SERVICE_PORT_" + variable(p.Name), number(p.Port)})
		}
	}
	for i, p := range s.Spec.Ports {
		proto := string(p.Protocol)
		if proto == "" {
			proto = string(core.ProtocolTCP)
		}
		url := strings.ToLower(proto) + "://" + net.JoinHostPort(s.Spec.ClusterIP, number(p.Port))
		if i == 0 {
			vars = append(vars, Var{name + "_PORT", url})
		}
		prefix := name + "_PORT_" + number(p.Port) + "_" + strings.ToUpper(proto)
		vars = append(vars, Var{prefix, url}, Var{prefix + "_PROTO", strings.ToLower(proto)},
			Var{prefix + "_PORT", number(p.Port)}, Var{prefix + "_ADDR", s.Spec.ClusterIP})
	}
	return vars
}

func variable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
