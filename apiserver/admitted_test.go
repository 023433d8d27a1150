package apiserver_test

import (
	"fmt"
	"testing"

	core "k8s.io/api/core/v1"

	"proa.dev/apiserver/apitest"
)

// A service that becomes an external name gives up its address, though its client sends the address back.
func TestServiceBecomesExternalName(t *testing.T) {
	s := apitest.Start(t)
	const path = "/api/v1/namespaces/default/services"
	var svc, got core.Service
	mustCall(t, s, 201, "POST", path, "", `{"metadata":{"name":"web"},"spec":{"type":"NodePort","ports":[{"port":80}]}}`, &svc)
	svc.Spec.Type, svc.Spec.ExternalName = core.ServiceTypeExternalName, "example.org"
	mustCall(t, s, 200, "PUT", path+"/web", "", svc, &got)
	if sp := got.Spec; sp.ClusterIP != "" || sp.ClusterIPs != nil || sp.IPFamilies != nil || sp.IPFamilyPolicy != nil || sp.Ports[0].NodePort != 0 {
		t.Errorf("got addresses or node ports: %+v", sp)
	}
}

func TestRuntimeClassOfPods(t *testing.T) {
	s := apitest.Start(t)
	class := `{"metadata":{"name":"boxed"},"handler":"box","overhead":{"podFixed":{"cpu":"10m"}},
		"scheduling":{"nodeSelector":{"box":"yes"},"tolerations":[{"key":"box","operator":"Exists"}]}}`
	mustCall(t, s, 201, "POST", "/apis/node.k8s.io/v1/runtimeclasses", "", class, nil)
	pod := func(name, spec string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q},"spec":{%s,"containers":[{"name":"c","image":"i"}]}}`, name, spec)
	}
	const path = "/api/v1/namespaces/default/pods"
	mustCall(t, s, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "", `{"metadata":{"name":"default"}}`, nil)
	var p core.Pod
	mustCall(t, s, 201, "POST", path, "", pod("a", `"runtimeClassName":"boxed"`), &p)
	if got := p.Spec.Overhead.Cpu().String(); got != "10m" || p.Spec.NodeSelector["box"] != "yes" || len(p.Spec.Tolerations) == 0 || p.Spec.Tolerations[0].Key == "" {
		t.Errorf("got overhead %q, selector %v, tolerations %v", got, p.Spec.NodeSelector, p.Spec.Tolerations)
	}
	for name, spec := range map[string]string{
		"unknown class":   `"runtimeClassName":"no"`,
		"other overhead":  `"runtimeClassName":"boxed","overhead":{"cpu":"1"}`,
		"own overhead":    `"overhead":{"cpu":"1"}`,
		"other selection": `"runtimeClassName":"boxed","nodeSelector":{"box":"no"}`,
	} {
		t.Run(name, func(t *testing.T) { mustCall(t, s, 403, "POST", path, "", pod("b", spec), nil) })
	}
}

// A proxy passes on every method, also those that the API has no verb for.
func TestProxyTakesEveryMethod(t *testing.T) {
	s := apitest.Start(t)
	for path, refused := range map[string]bool{
		"/api/v1/namespaces/default/pods/a/proxy": false,
		"/api/v1/namespaces/default/pods/a":       true,
	} {
		for _, method := range []string{"OPTIONS", "HEAD"} {
			if code := call(t, s, method, path, "", nil, nil); (code == 405) != refused {
				t.Errorf("%s %s: got %d, want refused: %v", method, path, code, refused)
			}
		}
	}
}

// A client that replaces the tolerations of a pod does not know those that the server added.
func TestTolerationsAreReplaced(t *testing.T) {
	s := apitest.Start(t)
	mustCall(t, s, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "", `{"metadata":{"name":"default"}}`, nil)
	const path = "/api/v1/namespaces/default/pods"
	var p, got core.Pod
	mustCall(t, s, 201, "POST", path, "", `{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}}`, &p)
	added := len(p.Spec.Tolerations)
	p.Spec.Tolerations = []core.Toleration{{Key: "mine", Operator: core.TolerationOpExists}}
	mustCall(t, s, 200, "PUT", path+"/a", "", p, &got)
	if n := len(got.Spec.Tolerations); n != added+1 || got.Generation != p.Generation+1 {
		t.Errorf("got %d tolerations at generation %d, want %d at %d", n, got.Generation, added+1, p.Generation+1)
	}
}

// What an eviction deletes says why, so that jobs can tell it from a failure. The finalizer lets the test see it.
func TestEvictionSaysWhy(t *testing.T) {
	s := apitest.Start(t)
	mustCall(t, s, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "", `{"metadata":{"name":"default"}}`, nil)
	const path = "/api/v1/namespaces/default/pods"
	mustCall(t, s, 201, "POST", path, "", `{"metadata":{"name":"a","finalizers":["example.org/wait"]},"spec":{"containers":[{"name":"c","image":"i"}]}}`, nil)
	mustCall(t, s, 201, "POST", path+"/a/eviction", "", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"a"}}`, nil)
	var p core.Pod
	mustCall(t, s, 200, "GET", path+"/a", "", nil, &p)
	if p.DeletionTimestamp == nil || len(p.Status.Conditions) != 1 || p.Status.Conditions[0].Type != core.DisruptionTarget ||
		p.Status.Conditions[0].Reason != "EvictionByEvictionAPI" {
		t.Errorf("got deletion at %v, conditions %v", p.DeletionTimestamp, p.Status.Conditions)
	}
}
