package scheduler

import (
	"fmt"
	"testing"
	"testing/synctest"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/control/controltest"
)

// BenchmarkPick measures decisions alone: 5,000 nodes of 32 CPU in 3 zones, each pod counted where it goes.
func BenchmarkPick(b *testing.B) {
	for name, change := range map[string][]func(*core.Pod){
		"plain": {}, "replicas": {ofSet("web")}, "apart": {apartPer(core.LabelHostname)},
		"spread": {spreadOver(core.LabelTopologyZone, 5, core.DoNotSchedule)},
	} {
		b.Run(name, func(b *testing.B) {
			s, err := New(Deps{Client: controltest.New(b).Client(), View: controltest.New(b).View()})
			if err != nil {
				b.Fatal(err)
			}
			for i := range 5000 {
				n := mkNode(fmt.Sprintf("n%d", i), zone(fmt.Sprintf("z%d", i%3)))
				n.Status.Allocatable = amounts("32", "256Gi")
				n.Status.Allocatable[core.ResourcePods] = resource.MustParse("110")
				s.cluster.setNode(n)
			}
			b.ReportAllocs()
			sample := mkPod("p", append(change, asks("100m", "100Mi"))...)
			i := 0
			for b.Loop() {
				if i%5000 == 0 { // begin with empty nodes, or anti-affinity has no room
					for _, p := range s.cluster.pods {
						s.cluster.remove(p)
					}
				}
				pod := *sample
				pod.UID = types.UID(fmt.Sprint(i))
				i++
				k := s.classOf(&pod)
				n := k.pick(s.cluster)
				if n == nil {
					b.Fatal("no node")
				}
				s.cluster.placeLike(k, &pod, n)
			}
		})
	}
}

// TestManyPodsAtOnce schedules a few thousand pods through the API in memory.
func TestManyPodsAtOnce(t *testing.T) {
	const nodes, many = 500, 2000
	inWorld(t, func(t *testing.T, w *world) {
		for i := range nodes {
			w.Put(mkNode(fmt.Sprintf("n%d", i), zone(fmt.Sprintf("z%d", i%3))))
		}
		synctest.Wait()
		for i := range many {
			w.Put(mkPod(fmt.Sprintf("p%d", i), ofSet("web"), asks("100m", "100Mi")))
		}
		spread := w.spread("")
		if len(spread) != nodes {
			t.Errorf("pods on %d nodes", len(spread))
		}
		for node, n := range spread {
			if n < many/nodes-1 || n > many/nodes+1 {
				t.Errorf("%d pods on %q, want about %d", n, node, many/nodes)
			}
		}
	})
}
