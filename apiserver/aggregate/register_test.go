package aggregate

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

// Who has put another server in the place of one that this server has by itself finds it there after a restart; a group of Kubernetes'
// own is taken back.
func TestAnotherServerStays(t *testing.T) {
	api := controltest.New(t)
	r := newRegistrar(New(Config{}), api.View(), api.Client())
	for gv, stays := range map[schema.GroupVersion]bool{
		{Group: "metrics.k8s.io", Version: "v1beta1"}: true,
		{Group: "apps", Version: "v1"}:                false,
	} {
		theirs := desired(gv)
		theirs.Spec.Service = &registration.ServiceReference{Namespace: "kube-system", Name: "other"}
		api.Put(theirs)
		if err := r.ensure(t.Context(), desired(gv)); err != nil {
			t.Fatal(err)
		}
		now, ok := client.Lookup[registration.APIService](api.View(), object.KeyOf(theirs))
		if !ok || (now.Spec.Service != nil) != stays {
			t.Errorf("%s: %+v; want the other server to stay: %v", gv, now, stays)
		}
	}
}
