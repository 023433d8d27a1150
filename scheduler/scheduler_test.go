package scheduler

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

// world is an API with a running scheduler, inside a synctest bubble.
type world struct {
	*controltest.API
	t *testing.T
	s *Scheduler
}

func inWorld(t *testing.T, fn func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{API: controltest.New(t), t: t}
		w.Serve(&core.Pod{}, &core.Node{}, &core.PersistentVolumeClaim{}, &core.PersistentVolume{}, &storage.StorageClass{}, &storage.CSINode{}, &storage.CSIStorageCapacity{}, &storage.CSIDriver{}, &core.Namespace{}, &core.Event{})
		var err error
		w.s, err = New(Deps{Client: w.Client(), View: w.View(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, w.s.Run)
		fn(t, w)
	})
}

func amounts(cpu, memory string) core.ResourceList {
	return core.ResourceList{core.ResourceCPU: resource.MustParse(cpu), core.ResourceMemory: resource.MustParse(memory)}
}

func mkNode(name string, change ...func(*core.Node)) *core.Node {
	n := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{core.LabelHostname: name}}}
	n.Status.Allocatable = amounts("4", "8Gi")
	n.Status.Allocatable[core.ResourcePods] = resource.MustParse("110")
	for _, f := range change {
		f(n)
	}
	return n
}

func zone(z string) func(*core.Node) {
	return func(n *core.Node) { n.Labels[core.LabelTopologyZone] = z }
}

func taint(key, value string, e core.TaintEffect) func(*core.Node) {
	return func(n *core.Node) {
		n.Spec.Taints = append(n.Spec.Taints, core.Taint{Key: key, Value: value, Effect: e})
	}
}

func mkPod(name string, change ...func(*core.Pod)) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}}}
	p.Spec.SchedulerName = Name
	p.Spec.Containers = []core.Container{{Name: "c", Image: "img"}}
	for _, f := range change {
		f(p)
	}
	return p
}

func asks(cpu, memory string) func(*core.Pod) {
	return func(p *core.Pod) { p.Spec.Containers[0].Resources.Requests = amounts(cpu, memory) }
}

func ofSet(name string) func(*core.Pod) {
	return func(p *core.Pod) {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name, UID: types.UID(name), Controller: &yes}}
	}
}

func withPriority(n int32) func(*core.Pod) { return func(p *core.Pod) { p.Spec.Priority = &n } }

func on(node string) func(*core.Pod) { return func(p *core.Pod) { p.Spec.NodeName = node } }

func affinityTerm(key string) core.PodAffinityTerm {
	return core.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}
}

func apartPer(key string) func(*core.Pod) {
	return func(p *core.Pod) {
		p.Spec.Affinity = &core.Affinity{PodAntiAffinity: &core.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []core.PodAffinityTerm{affinityTerm(key)}}}
	}
}

func togetherPer(key string) func(*core.Pod) {
	return func(p *core.Pod) {
		p.Spec.Affinity = &core.Affinity{PodAffinity: &core.PodAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []core.PodAffinityTerm{affinityTerm(key)}}}
	}
}

func spreadOver(key string, skew int32, when core.UnsatisfiableConstraintAction) func(*core.Pod) {
	return func(p *core.Pod) {
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, core.TopologySpreadConstraint{
			TopologyKey: key, MaxSkew: skew, WhenUnsatisfiable: when,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}})
	}
}

func (w *world) where(name string) string {
	w.t.Helper()
	synctest.Wait()
	p, ok := client.Lookup[core.Pod](w.View(), object.Key{Namespace: "default", Name: name})
	if !ok {
		w.t.Fatalf("no pod %s", name)
	}
	return p.Spec.NodeName
}

// message is why a pod waits: of its condition, which has to be that of the last event, too.
func (w *world) message(name string) string {
	w.t.Helper()
	synctest.Wait()
	p, _ := client.Lookup[core.Pod](w.View(), object.Key{Namespace: "default", Name: name})
	for _, c := range p.Status.Conditions {
		if c.Type == core.PodScheduled && c.Status == core.ConditionFalse && c.Reason == "Unschedulable" {
			for _, e := range client.ListOf[core.Event](w.View(), client.Select{}) {
				if e.Reason == "FailedScheduling" && e.InvolvedObject.Name == name && e.Message == c.Message {
					return c.Message
				}
			}
			return "no event says: " + c.Message
		}
	}
	return ""
}

// spread counts pods per value of a node label ("" is the node).
func (w *world) spread(label string) map[string]int {
	synctest.Wait()
	counts := map[string]int{}
	for _, p := range client.ListOf[core.Pod](w.View(), client.Select{}) {
		where := p.Spec.NodeName
		if n, ok := client.Lookup[core.Node](w.View(), object.Key{Name: where}); ok && label != "" {
			where = n.Labels[label]
		}
		counts[where]++
	}
	return counts
}

func TestMessages(t *testing.T) {
	port := func(p *core.Pod) {
		p.Spec.Containers[0].Ports = []core.ContainerPort{{ContainerPort: 80, HostPort: 80}}
	}
	for name, c := range map[string]struct {
		have []object.Object
		pod  *core.Pod
		want string
	}{
		"no nodes": {nil, mkPod("p"), "no nodes available to schedule pods"},
		"resources and taints": {
			[]object.Object{mkNode("a"), mkNode("b", taint("gpu", "only", core.TaintEffectNoSchedule)), mkNode("c", taint("gpu", "only", core.TaintEffectNoSchedule))},
			mkPod("p", asks("5", "1Gi")),
			"0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {gpu: only}. " +
				"preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
		},
		"two resources": {
			[]object.Object{mkNode("a"), mkPod("q", asks("3", "7Gi"), on("a"))}, mkPod("p", asks("2", "2Gi")),
			"0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. " +
				"preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
		},
		"cordoned": {
			[]object.Object{mkNode("a", func(n *core.Node) { n.Spec.Unschedulable = true })}, mkPod("p"),
			"0/1 nodes are available: 1 node(s) were unschedulable. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
		},
		"selector": {
			[]object.Object{mkNode("a")}, mkPod("p", func(p *core.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }),
			"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
		},
		"ports": {
			[]object.Object{mkNode("a"), mkPod("q", port, on("a"))}, mkPod("p", port),
			"0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
		},
		"extended resource": {
			[]object.Object{mkNode("a")}, mkPod("p", func(p *core.Pod) {
				p.Spec.Containers[0].Resources.Requests = core.ResourceList{"example.com/gpu": resource.MustParse("1")}
			}),
			"0/1 nodes are available: 1 Insufficient example.com/gpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
		},
		"anti-affinity": {
			[]object.Object{mkNode("a"), mkPod("q", on("a"))}, mkPod("p", apartPer(core.LabelHostname)),
			"0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
		},
		"anti-affinity of others": {
			[]object.Object{mkNode("a"), mkPod("q", on("a"), apartPer(core.LabelHostname))}, mkPod("p"),
			"0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
		},
		"affinity": {
			[]object.Object{mkNode("a")}, mkPod("p", togetherPer(core.LabelHostname), func(p *core.Pod) { p.Labels = nil }),
			"0/1 nodes are available: 1 node(s) didn't match pod affinity rules. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
		},
		"spread": {
			[]object.Object{mkNode("a", zone("x")), mkNode("b", zone("y"), func(n *core.Node) { n.Status.Allocatable["pods"] = resource.MustParse("0") }), mkPod("q", on("a"))},
			mkPod("p", spreadOver(core.LabelTopologyZone, 1, core.DoNotSchedule)),
			"0/2 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints. " +
				"preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.",
		},
		"spread without the label": {
			[]object.Object{mkNode("a")}, mkPod("p", spreadOver(core.LabelTopologyZone, 1, core.DoNotSchedule)),
			"0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label). preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
		},
		"no claim": {
			[]object.Object{mkNode("a")}, mkPod("p", claim("data")),
			`0/1 nodes are available: persistentvolumeclaim "data" not found.`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.Put(c.have...)
				synctest.Wait()
				w.Put(c.pod)
				if got := w.message("p"); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
			})
		})
	}
}

func claim(name string) func(*core.Pod) {
	return func(p *core.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, core.Volume{Name: "v", VolumeSource: core.VolumeSource{
			PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
	}
}

func TestBinds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.Put(mkNode("a", taint("x", "", core.TaintEffectNoSchedule)), mkNode("b"))
		synctest.Wait()
		w.Put(mkPod("p"), mkPod("other", func(p *core.Pod) { p.Spec.SchedulerName = "mine" }))
		if got := w.where("p"); got != "b" {
			t.Errorf("p is on %q, want b", got)
		}
		if got := w.where("other"); got != "" {
			t.Errorf("a pod of another scheduler is on %q", got)
		}
		want := "Successfully assigned default/p to b"
		if !slices.ContainsFunc(client.ListOf[core.Event](w.View(), client.Select{}), func(e *core.Event) bool { return e.Reason == "Scheduled" && e.Message == want }) {
			t.Errorf("no event %q", want)
		}
	})
}

func TestSpreadsByDefault(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 6 {
			w.Put(mkNode(fmt.Sprintf("n%d", i), zone(fmt.Sprintf("z%d", i%3))))
		}
		synctest.Wait()
		for i := range 6 {
			w.Put(mkPod(fmt.Sprintf("p%d", i), ofSet("web")))
		}
		for label, want := range map[string]int{"": 1, core.LabelTopologyZone: 2} {
			for where, n := range w.spread(label) {
				if n != want {
					t.Errorf("%d pods on %q, want %d", n, where, want)
				}
			}
		}
	})
}

func TestHardRules(t *testing.T) {
	nodes := func(w *world) {
		for i := range 6 {
			w.Put(mkNode(fmt.Sprintf("n%d", i), zone(fmt.Sprintf("z%d", i%2))))
		}
		synctest.Wait() // a pod that comes before the nodes would back off
	}
	for name, c := range map[string]struct {
		rule  func(*core.Pod)
		pods  int
		label string
		want  map[string]int // "" is those that wait
	}{
		"apart per host":  {apartPer(core.LabelHostname), 8, "", map[string]int{"n0": 1, "n1": 1, "n2": 1, "n3": 1, "n4": 1, "n5": 1, "": 2}},
		"apart per zone":  {apartPer(core.LabelTopologyZone), 3, core.LabelTopologyZone, map[string]int{"z0": 1, "z1": 1, "": 1}},
		"spread on hosts": {spreadOver(core.LabelHostname, 1, core.DoNotSchedule), 12, "", map[string]int{"n0": 2, "n1": 2, "n2": 2, "n3": 2, "n4": 2, "n5": 2}},
		"spread on zones": {spreadOver(core.LabelTopologyZone, 1, core.DoNotSchedule), 10, core.LabelTopologyZone, map[string]int{"z0": 5, "z1": 5}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				nodes(w)
				for i := range c.pods {
					w.Put(mkPod(fmt.Sprintf("p%d", i), c.rule))
				}
				if got := w.spread(c.label); !maps.Equal(got, c.want) {
					t.Errorf("got %v, want %v", got, c.want)
				}
			})
		})
	}
	inWorld(t, func(t *testing.T, w *world) {
		nodes(w)
		for i := range 5 {
			w.Put(mkPod(fmt.Sprintf("p%d", i), togetherPer(core.LabelTopologyZone)))
		}
		if got := w.spread(core.LabelTopologyZone); len(got) != 1 || got[""] != 0 {
			t.Errorf("pods that want to be together are in %v", got)
		}
	})
}

func TestNeverOvercommits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 3 {
			w.Put(mkNode(fmt.Sprintf("n%d", i)))
		}
		synctest.Wait()
		for i := range 20 {
			w.Put(mkPod(fmt.Sprintf("p%d", i), asks("1", "100Mi"), func(p *core.Pod) {
				// An init container that needs more than the rest, and the overhead of a runtime class.
				p.Spec.InitContainers = []core.Container{{Name: "i", Image: "img", Resources: core.ResourceRequirements{Requests: amounts("1500m", "1Mi")}}}
				p.Spec.Overhead = amounts("500m", "1Mi")
			}))
		}
		want := map[string]int{"n0": 2, "n1": 2, "n2": 2, "": 14}
		if got := w.spread(""); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestWaitingPodsAreWokenByWhatHelps(t *testing.T) {
	for name, help := range map[string]func(w *world){
		"a pod ends": func(w *world) { w.Remove(mkPod("q")) },
		"a new node": func(w *world) { w.Put(mkNode("b")) },
		"more capacity": func(w *world) {
			w.Put(mkNode("a", func(n *core.Node) { n.Status.Allocatable["cpu"] = resource.MustParse("8") }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.Put(mkNode("a"), mkPod("q", asks("3", "1Gi"), on("a")))
				synctest.Wait()
				w.Put(mkPod("p", asks("2", "1Gi")))
				if got := w.where("p"); got != "" {
					t.Fatalf("p is on %q", got)
				}
				help(w)
				if got := w.where("p"); got != "" {
					t.Error("no back-off")
				}
				time.Sleep(1100 * time.Millisecond)
				if got := w.where("p"); got == "" {
					t.Error("p still waits")
				}
			})
		})
	}
}

func TestFailedBindingIsRetried(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var refusals atomic.Int32
		w.Refuse(func(verb string, tg client.Target, _ object.Object) error {
			if tg.Sub == "binding" && refusals.Add(1) <= 2 {
				return fmt.Errorf("the network is down")
			}
			return nil
		})
		w.Put(mkNode("a"))
		synctest.Wait()
		w.Put(mkPod("p", asks("3", "1Gi")))
		synctest.Wait()
		count := make(chan int, 1)
		w.s.inbox.send(func(time.Time) { count <- len(w.s.cluster.pods) })
		if n := <-count; n != 0 {
			t.Errorf("%d pods count on nodes after a binding that failed", n)
		}
		time.Sleep(4 * time.Second)
		if got := w.where("p"); got != "a" {
			t.Errorf("p is on %q", got)
		}
	})
}

func TestPreemption(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.Put(mkNode("a"), mkNode("b"),
			mkPod("a1", asks("2", "1Gi"), on("a"), withPriority(5)), mkPod("a2", asks("2", "1Gi"), on("a"), withPriority(10)),
			mkPod("b1", asks("3", "1Gi"), on("b"), withPriority(20)))
		synctest.Wait()
		w.Put(mkPod("p", asks("2", "1Gi"), withPriority(100)))
		synctest.Wait()
		gone := func(name string) bool {
			p, ok := client.Lookup[core.Pod](w.View(), object.Key{Namespace: "default", Name: name})
			return !ok || p.DeletionTimestamp != nil
		}
		if !gone("a1") || gone("a2") || gone("b1") {
			t.Errorf("evicted: a1 %v, a2 %v, b1 %v; want the least important one", gone("a1"), gone("a2"), gone("b1"))
		}
		p, _ := client.Lookup[core.Pod](w.View(), object.Key{Namespace: "default", Name: "p"})
		if p.Status.NominatedNodeName != "a" {
			t.Errorf("nominated %q, want a", p.Status.NominatedNodeName)
		}
		if v, ok := client.Lookup[core.Pod](w.View(), object.Key{Namespace: "default", Name: "a1"}); ok && !slices.ContainsFunc(v.Status.Conditions, func(c core.PodCondition) bool {
			return c.Type == core.DisruptionTarget && c.Reason == "PreemptionByScheduler" && c.Status == core.ConditionTrue
		}) {
			t.Errorf("the victim does not say why it ends: %+v", v.Status.Conditions)
		}
		// The room is kept: a pod of low priority does not slip in.
		if v, ok := client.Lookup[core.Pod](w.View(), object.Key{Namespace: "default", Name: "a1"}); ok {
			w.Remove(v)
		}
		w.Put(mkPod("low", asks("2", "1Gi")))
		time.Sleep(3 * time.Second)
		if got, low := w.where("p"), w.where("low"); got != "a" || low != "" {
			t.Errorf("p is on %q and low on %q", got, low)
		}
	})
}

func TestClaims(t *testing.T) {
	wait := storage.VolumeBindingWaitForFirstConsumer
	name := "local"
	pvc := func(change func(*core.PersistentVolumeClaim)) *core.PersistentVolumeClaim {
		c := &core.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data"}, Spec: core.PersistentVolumeClaimSpec{StorageClassName: &name}}
		change(c)
		return c
	}
	inWorld(t, func(t *testing.T, w *world) { // a bound volume says where
		pv := &core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: core.PersistentVolumeSpec{NodeAffinity: &core.VolumeNodeAffinity{
			Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{MatchExpressions: []core.NodeSelectorRequirement{
				{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{"b"}}}}}}}}}
		w.Put(mkNode("a"), mkNode("b"), mkNode("c"), pv, pvc(func(c *core.PersistentVolumeClaim) { c.Spec.VolumeName = "pv"; c.Status.Phase = core.ClaimBound }))
		synctest.Wait()
		w.Put(mkPod("p", claim("data")))
		if got := w.where("p"); got != "b" {
			t.Errorf("p is on %q, want b; %s", got, w.message("p"))
		}
	})
	inWorld(t, func(t *testing.T, w *world) { // an unbound one is made where the pod goes, before the pod is bound
		w.Put(mkNode("a"), &storage.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, VolumeBindingMode: &wait}, pvc(func(*core.PersistentVolumeClaim) {}))
		synctest.Wait()
		w.Put(mkPod("p", claim("data")))
		if got := w.where("p"); got != "" {
			t.Errorf("p is on %q before its volume", got)
		}
		c, _ := client.Lookup[core.PersistentVolumeClaim](w.View(), object.Key{Namespace: "default", Name: "data"})
		if c.Annotations[selectedNode] != "a" {
			t.Errorf("the claim's node is %q", c.Annotations[selectedNode])
		}
		c = object.Clone(c)
		c.Spec.VolumeName, c.Status.Phase = "pv", core.ClaimBound
		w.Put(c)
		if got := w.where("p"); got != "a" {
			t.Errorf("p is on %q", got)
		}
	})
}

func TestPreferences(t *testing.T) {
	prefer := func(weight int32, apart bool) func(*core.Pod) {
		return func(p *core.Pod) {
			w := []core.WeightedPodAffinityTerm{{Weight: weight, PodAffinityTerm: affinityTerm(core.LabelHostname)}}
			p.Spec.Affinity = &core.Affinity{}
			if apart {
				p.Spec.Affinity.PodAntiAffinity = &core.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: w}
			} else {
				p.Spec.Affinity.PodAffinity = &core.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: w}
			}
		}
	}
	for name, c := range map[string]struct {
		there, pod func(*core.Pod)
		want       string
	}{
		"near it":              {func(*core.Pod) {}, prefer(100, false), "a"},
		"away from it":         {func(*core.Pod) {}, prefer(100, true), "b"},
		"it likes company":     {prefer(100, false), func(*core.Pod) {}, "a"},
		"it likes to be alone": {prefer(100, true), func(*core.Pod) {}, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.Put(mkNode("a"), mkNode("b"), mkPod("q", on("a"), c.there))
				if c.want == "b" { // or b would win anyway
					w.Put(mkPod("r", on("b"), asks("1", "1Gi"), func(p *core.Pod) { p.Labels = nil }))
				}
				synctest.Wait()
				w.Put(mkPod("p", c.pod))
				if got := w.where("p"); got != c.want {
					t.Errorf("p is on %q, want %q", got, c.want)
				}
			})
		})
	}
	inWorld(t, func(t *testing.T, w *world) { // preferred node affinity, and taints to avoid if possible
		w.Put(mkNode("a", taint("slow", "", core.TaintEffectPreferNoSchedule)), mkNode("b"), mkNode("c", func(n *core.Node) { n.Labels["disk"] = "ssd" }))
		synctest.Wait()
		w.Put(mkPod("p", func(p *core.Pod) {
			p.Spec.Affinity = &core.Affinity{NodeAffinity: &core.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []core.PreferredSchedulingTerm{
				{Weight: 10, Preference: core.NodeSelectorTerm{MatchExpressions: []core.NodeSelectorRequirement{{Key: "disk", Operator: core.NodeSelectorOpIn, Values: []string{"ssd"}}}}}}}}
		}))
		if got := w.where("p"); got != "c" {
			t.Errorf("p is on %q, want c", got)
		}
		for i := range 6 {
			w.Put(mkPod(fmt.Sprintf("q%d", i)))
		}
		if got := w.spread(""); got["a"] != 0 {
			t.Errorf("%v: pods where they would rather not be", got)
		}
	})
}

func TestPinnedPods(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 5 {
			w.Put(mkNode(fmt.Sprintf("n%d", i), taint("x", "", core.TaintEffectNoSchedule)))
		}
		synctest.Wait()
		for i := range 6 { // as a DaemonSet makes them; the last for a node that is not there
			w.Put(mkPod(fmt.Sprintf("p%d", i), func(p *core.Pod) {
				p.Spec.Tolerations = []core.Toleration{{Operator: core.TolerationOpExists}}
				p.Spec.Affinity = &core.Affinity{NodeAffinity: &core.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &core.NodeSelector{
					NodeSelectorTerms: []core.NodeSelectorTerm{{MatchFields: []core.NodeSelectorRequirement{
						{Key: "metadata.name", Operator: core.NodeSelectorOpIn, Values: []string{fmt.Sprintf("n%d", i)}}}}}}}}
			}))
		}
		for i := range 5 {
			if got, want := w.where(fmt.Sprintf("p%d", i)), fmt.Sprintf("n%d", i); got != want {
				t.Errorf("p%d is on %q", i, got)
			}
		}
		want := "0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling."
		if got := w.message("p5"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestExplain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.Put(mkNode("a"), mkNode("b", taint("x", "y", core.TaintEffectNoExecute)))
		synctest.Wait()
		e, err := w.s.Explain(t.Context(), mkPod("p", asks("100", "1Gi")))
		if err != nil || len(e.Nodes) != 2 || !slices.Equal(e.Nodes[0].Reasons, []string{"Insufficient cpu"}) ||
			!slices.Equal(e.Nodes[1].Reasons, []string{"node(s) had untolerated taint {x: y}"}) || !strings.HasPrefix(e.Message, "0/2 nodes are available: 1 Insufficient cpu, ") {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

func TestHigherPriorityFirst(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.Put(mkPod("low", asks("3", "1Gi")), mkPod("high", asks("3", "1Gi"), withPriority(7)))
		synctest.Wait()
		w.Put(mkNode("a"))
		time.Sleep(20 * time.Second)
		if high, low := w.where("high"), w.where("low"); high != "a" || low != "" {
			t.Errorf("high is on %q, low on %q", high, low)
		}
	})
}
