package service

import (
	"fmt"
	"testing"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"

	"proa.dev/network/nft"
)

func TestHints(t *testing.T) {
	ep := func(addr string, ready bool, nodes, zones []string) discovery.Endpoint {
		e := endpoint(addr, "other", ready)
		e.Hints = &discovery.EndpointHints{}
		for _, n := range nodes {
			e.Hints.ForNodes = append(e.Hints.ForNodes, discovery.ForNode{Name: n})
		}
		for _, z := range zones {
			e.Hints.ForZones = append(e.Hints.ForZones, discovery.ForZone{Name: z})
		}
		return e
	}
	list := func(s ...string) []string { return s }
	bare := endpoint("10.42.0.9", "other", true)
	for _, c := range []struct {
		name, zone string
		eps        []discovery.Endpoint
		want       string
	}{
		{"none", "z1", []discovery.Endpoint{bare}, "[10.42.0.9:80]"},
		{"zone", "z1", []discovery.Endpoint{ep("10.42.0.1", true, nil, list("z1")), ep("10.42.0.2", true, nil, list("z2"))}, "[10.42.0.1:80]"},
		{"the node has no zone", "", []discovery.Endpoint{ep("10.42.0.1", true, nil, list("z1")), ep("10.42.0.2", true, nil, list("z2"))}, "[10.42.0.1:80 10.42.0.2:80]"},
		{"nobody is meant", "z3", []discovery.Endpoint{ep("10.42.0.1", true, nil, list("z1")), ep("10.42.0.2", true, nil, list("z2"))}, "[10.42.0.1:80 10.42.0.2:80]"},
		{"one has no hint", "z1", []discovery.Endpoint{ep("10.42.0.1", true, nil, list("z1")), bare}, "[10.42.0.1:80 10.42.0.9:80]"},
		{"the one without is not ready", "z1", []discovery.Endpoint{ep("10.42.0.1", true, nil, list("z1")), endpoint("10.42.0.9", "other", false)}, "[10.42.0.1:80]"},
		{"node before zone", "z1", []discovery.Endpoint{ep("10.42.0.1", true, list("x"), list("z1")), ep("10.42.0.2", true, list("node"), list("z2"))}, "[10.42.0.2:80]"},
	} {
		got := endpoints([]*discovery.EndpointSlice{slice("web", c.eps...)}, &core.ServicePort{Name: "http", Port: 80}, nft.IPv4, site{node: "node", zone: c.zone})
		if fmt.Sprint(got.cluster) != c.want {
			t.Errorf("%s: got %v, want %s", c.name, got.cluster, c.want)
		}
	}
}

func TestWhatIsNoBusinessOfTheProxy(t *testing.T) {
	headless := service("a", "None")
	external := service("b", "10.43.0.9")
	external.Spec.Type = core.ServiceTypeExternalName
	others := service("c", "10.43.0.9")
	others.Labels = map[string]string{proxyNameLabel: "kube-router"}
	pending := service("d", "")
	for _, svc := range []*core.Service{headless, external, others, pending} {
		if got := model(svc, nil, site{families: families(nil)}); got != nil {
			t.Errorf("%s: %v", svc.Name, got)
		}
	}
}
