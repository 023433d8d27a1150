//lint:file-ignore SA1019 Endpoints are deprecated, but clients still read them: they are served and kept.

package endpointslice

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func TestPlan(t *testing.T) {
	controltest.Plan(t, func(c controltest.Case) ([]control.Change, control.Again) {
		svc := controltest.Pick[core.Service](c)[0]
		var endpoints *core.Endpoints
		if all := controltest.Pick[core.Endpoints](c); len(all) > 0 {
			endpoints = all[0]
		}
		have := controltest.Pick[discovery.EndpointSlice](c)
		if svc.Spec.Selector == nil {
			return planMirror(endpoints, have), control.Done
		}
		ms := members(svc, controltest.Pick[core.Pod](c), func(node string) string {
			for _, n := range controltest.Pick[core.Node](c) {
				if n.Name == node {
					return n.Labels[core.LabelTopologyZone]
				}
			}
			return ""
		})
		changes := planSlices(serviceTemplate(svc), grouped(svc, ms), have)
		return append(changes, planEndpoints(svc, ms, endpoints)...), control.Done
	})
}

func service() *core.Service {
	return &core.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: core.ServiceSpec{
			ClusterIP: "10.43.0.9", IPFamilies: []core.IPFamily{core.IPv4Protocol},
			Selector: map[string]string{"app": "web"}, Ports: []core.ServicePort{{Port: 80}},
		},
	}
}

func pod(i int, ready core.ConditionStatus) *core.Pod {
	return &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("web-%03d", i), Labels: map[string]string{"app": "web"}},
		Spec:       core.PodSpec{NodeName: "n1"},
		Status: core.PodStatus{
			Phase: core.PodRunning, PodIP: fmt.Sprintf("10.42.%d.%d", i/250, i%250+1),
			Conditions: []core.PodCondition{{Type: core.PodReady, Status: ready}},
		},
	}
}

func start(t *testing.T) *controltest.API {
	a := controltest.New(t)
	a.Serve(&core.Service{}, &core.Pod{}, &core.Endpoints{}, &core.Node{}, &discovery.EndpointSlice{})
	c, err := New(control.Deps{Client: a.Client(), View: a.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	return a
}

func sliceSizes(a *controltest.API) (sizes []int, ready int) {
	for _, s := range client.ListOf[discovery.EndpointSlice](a.View(), client.Select{}) {
		sizes = append(sizes, len(s.Endpoints))
		for _, e := range s.Endpoints {
			if *e.Conditions.Ready {
				ready++
			}
		}
	}
	return sizes, ready
}

func TestManyPodsInSlices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.Put(service())
		for i := range 250 {
			a.Put(pod(i, core.ConditionTrue))
		}
		time.Sleep(time.Second)
		sizes, ready := sliceSizes(a)
		total := 0
		for _, n := range sizes {
			total += n
		}
		if total != 250 || ready != 250 || len(sizes) != 3 {
			t.Fatalf("slices of %v with %d ready, want 250 in 3", sizes, ready)
		}
		a.Writes()
		a.Put(pod(17, core.ConditionFalse))
		time.Sleep(time.Second)
		if w := a.Writes(); len(w) != 2 { // one slice, one Endpoints
			t.Errorf("one pod not ready is %d writes: %v", len(w), w)
		}
		if _, ready := sliceSizes(a); ready != 249 {
			t.Errorf("%d ready, want 249", ready)
		}
		e, _ := client.Lookup[core.Endpoints](a.View(), object.Key{Namespace: "default", Name: "web"})
		if len(e.Subsets) != 1 || len(e.Subsets[0].Addresses) != 249 || len(e.Subsets[0].NotReadyAddresses) != 1 {
			t.Errorf("Endpoints %+v, want 249 ready and 1 not", e.Subsets)
		}
	})
}

func TestOverCapacity(t *testing.T) {
	svc := service()
	var ms []member
	for i := range 1200 {
		ready := core.ConditionTrue
		if i%3 == 0 {
			ready = core.ConditionFalse
		}
		p := pod(i, ready)
		ms = append(ms, member{pod: p, ports: portsOf(svc, p)})
	}
	e := planEndpoints(svc, ms, nil)[0].Object.(*core.Endpoints)
	if n, m := len(e.Subsets[0].Addresses), len(e.Subsets[0].NotReadyAddresses); n != 800 || m != 200 {
		t.Errorf("%d ready and %d not ready are left, want 800 and 200", n, m)
	}
	if e.Annotations[core.EndpointsOverCapacity] != "truncated" {
		t.Errorf("annotations %v, want over-capacity", e.Annotations)
	}
}

func TestDeletedSliceComesBackAndServiceTakesAllAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.Put(service(), pod(1, core.ConditionTrue))
		time.Sleep(time.Second)
		s := client.ListOf[discovery.EndpointSlice](a.View(), client.Select{})
		if len(s) != 1 {
			t.Fatalf("%d slices, want 1", len(s))
		}
		if err := client.Delete[discovery.EndpointSlice](t.Context(), a.Client(), object.KeyOf(s[0]), ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := len(client.ListOf[discovery.EndpointSlice](a.View(), client.Select{})); n != 1 {
			t.Errorf("%d slices after one was deleted, want it back", n)
		}
		if err := client.Delete[core.Service](t.Context(), a.Client(), object.Key{Namespace: "default", Name: "web"}, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := len(client.ListOf[core.Endpoints](a.View(), client.Select{})); n != 0 {
			t.Errorf("%d Endpoints after the Service was deleted", n)
		}
	})
}

func TestMirroredEndpointsFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		svc := service()
		svc.Spec.Selector = nil
		e := &core.Endpoints{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
			Subsets:    []core.EndpointSubset{{Addresses: []core.EndpointAddress{{IP: "192.0.2.1"}}, Ports: []core.EndpointPort{{Port: 80}}}},
		}
		a.Put(svc, e)
		time.Sleep(time.Second)
		s := client.ListOf[discovery.EndpointSlice](a.View(), client.Select{})
		if len(s) != 1 || s[0].Labels[discovery.LabelManagedBy] != MirrorManagedBy || len(s[0].Endpoints) != 1 {
			t.Fatalf("slices %v, want one mirrored", s)
		}
		if err := client.Delete[core.Endpoints](t.Context(), a.Client(), object.KeyOf(e), ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := len(client.ListOf[discovery.EndpointSlice](a.View(), client.Select{})); n != 0 {
			t.Errorf("%d slices after the Endpoints were deleted", n)
		}
	})
}
