package webhook

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/client"
	"proa.dev/object"
)

// resolve is where to dial for a port of a service: one of its ready endpoints, of the first family where there are some; the service's own
// address where it has no endpoints that the API knows of.
func resolve(view client.View, namespace, name string, port int32) (string, error) {
	s, ok := client.Lookup[core.Service](view, object.Key{Namespace: namespace, Name: name})
	if !ok {
		return "", apierrors.NewNotFound(schema.GroupResource{Resource: "service"}, name)
	}
	if s.Spec.Type == core.ServiceTypeExternalName {
		return net.JoinHostPort(s.Spec.ExternalName, strconv.Itoa(int(port))), nil
	}
	portName, ok := "", false
	for _, p := range s.Spec.Ports {
		if p.Port == port {
			portName, ok = p.Name, true
			break
		}
	}
	if !ok {
		return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, name))
	}
	var first, other []string
	known := false
	for _, slice := range client.ListOf[discovery.EndpointSlice](view, client.Select{Namespace: namespace}) {
		if slice.Labels[discovery.LabelServiceName] != name {
			continue
		}
		known = true
		found := ready(slice, portName)
		if len(s.Spec.IPFamilies) == 0 || slice.AddressType == discovery.AddressType(s.Spec.IPFamilies[0]) {
			first = append(first, found...)
		} else {
			other = append(other, found...)
		}
	}
	if len(first) == 0 {
		first = other
	}
	switch {
	case len(first) > 0:
		return first[rand.IntN(len(first))], nil
	case !known && s.Spec.ClusterIP != "" && s.Spec.ClusterIP != core.ClusterIPNone:
		return net.JoinHostPort(s.Spec.ClusterIP, strconv.Itoa(int(port))), nil
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
}

// ready are the addresses of a slice that take traffic, with its port of this name.
func ready(slice *discovery.EndpointSlice, name string) (out []string) {
	for _, p := range slice.Ports {
		if p.Name == nil || *p.Name != name || p.Port == nil {
			continue
		}
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; (e.Conditions.Ready == nil || *e.Conditions.Ready) && len(e.Addresses) > 0 {
				out = append(out, net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))))
			}
		}
	}
	return out
}
