package object

import (
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	storage "k8s.io/api/storage/v1"
)

func TestResourceOf(t *testing.T) {
	for got, want := range map[string]string{
		ResourceOf[core.Pod]().String():                   "/v1, Resource=pods",
		ResourceOf[core.Endpoints]().String():             "/v1, Resource=endpoints",
		ResourceOf[apps.Deployment]().String():            "apps/v1, Resource=deployments",
		ResourceOf[networking.Ingress]().String():         "networking.k8s.io/v1, Resource=ingresses",
		ResourceOf[networking.NetworkPolicy]().String():   "networking.k8s.io/v1, Resource=networkpolicies",
		ResourceOf[storage.StorageClass]().String():       "storage.k8s.io/v1, Resource=storageclasses",
		ResourceOf[policy.PodDisruptionBudget]().String(): "policy/v1, Resource=poddisruptionbudgets",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestCloneIsDeep(t *testing.T) {
	a := &core.Pod{}
	a.Labels = map[string]string{"a": "1"}
	b := Clone(a)
	b.Labels["a"] = "2"
	if a.Labels["a"] != "1" {
		t.Error("a change of the clone shows in the original")
	}
}

func TestKeyRoundTrip(t *testing.T) {
	for _, k := range []Key{{"ns", "name"}, {"", "name"}} {
		if got := ParseKey(k.String()); got != k {
			t.Errorf("got %#v, want %#v", got, k)
		}
	}
}
