package sim

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func TestHollowNodesRunAndEndPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := controltest.New(t)
		api.Serve(&core.Node{}, &core.Pod{}, &coordination.Lease{})
		s, err := New(Deps{Client: api.Client(), View: api.View(), Nodes: 40, Leases: true, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, s.Run)
		<-s.Ready()
		nodes := client.ListOf[core.Node](api.View(), client.Select{})
		if len(nodes) != 40 || nodes[0].Status.Allocatable.Cpu().Value() != 32 {
			t.Fatalf("%d nodes, the first with %v", len(nodes), nodes[0].Status.Allocatable)
		}
		for i := range 20 {
			api.Put(&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: fmt.Sprintf("p%d", i)},
				Spec: core.PodSpec{NodeName: "sim-1", Containers: []core.Container{{Name: "c", Image: "i"}}}})
		}
		synctest.Wait()
		ips := map[string]bool{}
		for _, p := range client.ListOf[core.Pod](api.View(), client.Select{}) {
			if p.Status.Phase != core.PodRunning || ips[p.Status.PodIP] || len(p.Status.ContainerStatuses) != 1 {
				t.Errorf("%s: %+v", p.Name, p.Status)
			}
			ips[p.Status.PodIP] = true
			if err := client.Delete[core.Pod](t.Context(), api.Client(), object.KeyOf(p), ""); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if left := client.ListOf[core.Pod](api.View(), client.Select{}); len(left) != 0 {
			t.Errorf("%d pods are left", len(left))
		}
		time.Sleep(25 * time.Second)
		synctest.Wait()
		l, ok := client.Lookup[coordination.Lease](api.View(), object.Key{Namespace: core.NamespaceNodeLease, Name: "sim-7"})
		if !ok || time.Since(l.Spec.RenewTime.Time) > 11*time.Second {
			t.Errorf("lease: %+v", l)
		}
	})
}
