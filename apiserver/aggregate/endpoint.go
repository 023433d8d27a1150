package aggregate

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// resolve takes one of the ready endpoints of a service's port. It goes past the service's own address: this server need not stand on
// a machine where those are routed.
func resolve(v client.View, service object.Key, port int32) (string, error) {
	s, ok := client.Lookup[core.Service](v, service)
	if !ok {
		return "", fmt.Errorf("service %q not found", service.Name)
	}
	if s.Spec.Type == core.ServiceTypeExternalName {
		return net.JoinHostPort(s.Spec.ExternalName, strconv.Itoa(int(port))), nil
	}
	name, ok := portName(s, port)
	if !ok {
		return "", fmt.Errorf("no service port %d found for service %q", port, service.Name)
	}
	var found []string
	for _, e := range slicesOf(v, service) {
		found = append(found, ready(e, name)...)
	}
	if len(found) == 0 {
		return "", fmt.Errorf("no endpoints available for service %q", service.Name)
	}
	return found[rand.IntN(len(found))], nil
}

// portName is the name of a service's port with this number.
func portName(s *core.Service, port int32) (string, bool) {
	for _, p := range s.Spec.Ports {
		if p.Port == port {
			return p.Name, true
		}
	}
	return "", false
}

func slicesOf(v client.View, service object.Key) (out []*discovery.EndpointSlice) {
	for _, e := range client.ListOf[discovery.EndpointSlice](v, client.Select{Namespace: service.Namespace}) {
		if e.Labels[discovery.LabelServiceName] == service.Name {
			out = append(out, e)
		}
	}
	return out
}

// ready are the ready addresses of a slice, with the number of its port of this name.
func ready(e *discovery.EndpointSlice, name string) (out []string) {
	number := ""
	for _, p := range e.Ports {
		if p.Name != nil && *p.Name == name && p.Port != nil {
			number = strconv.Itoa(int(*p.Port))
		}
	}
	if number == "" {
		return nil
	}
	for i := range e.Endpoints {
		if is := e.Endpoints[i].Conditions.Ready; (is == nil || *is) && len(e.Endpoints[i].Addresses) > 0 {
			out = append(out, net.JoinHostPort(e.Endpoints[i].Addresses[0], number))
		}
	}
	return out
}
