package daemonset

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func TestPlan(t *testing.T) {
	controltest.Plan(t, func(c controltest.Case) ([]control.Change, control.Again) {
		ds := controltest.Pick[apps.DaemonSet](c)[0]
		changes, status, again, err := plan(state{
			ds: ds, pods: controltest.Pick[core.Pod](c), nodes: controltest.Pick[core.Node](c), revisions: controltest.Pick[apps.ControllerRevision](c),
			revision: func(string) (*apps.ControllerRevision, bool) { return nil, false }, backoff: func(string) time.Duration { return 0 },
		}, c.Now)
		if err != nil {
			t.Fatal(err)
		}
		n := object.Clone(ds)
		n.Status = status
		return append(changes, control.Change{Op: control.Status, Object: n}), again
	})
}

var key = object.Key{Namespace: "default", Name: "agent"}

func newSet(surge, unavailable int32) *apps.DaemonSet {
	return &apps.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "agent"},
		Spec: apps.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}}, RevisionHistoryLimit: new(int32(10)),
			UpdateStrategy: apps.DaemonSetUpdateStrategy{
				Type: apps.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &apps.RollingUpdateDaemonSet{
					MaxSurge: new(intstr.FromInt32(surge)), MaxUnavailable: new(intstr.FromInt32(unavailable)),
				},
			},
			Template: core.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "agent"}},
				Spec:       core.PodSpec{Containers: []core.Container{{Name: "c", Image: "i:1"}}},
			},
		},
	}
}

type world struct {
	*controltest.API
	t           *testing.T
	most, least int // pods that are not going, pods of those that are ready
	created     int
}

func newWorld(t *testing.T, nodes int) *world {
	w := &world{API: controltest.New(t), t: t}
	w.Serve(&apps.DaemonSet{}, &core.Pod{}, &core.Node{}, &apps.ControllerRevision{})
	for i := range nodes {
		w.Put(&core.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i), Labels: map[string]string{"i": fmt.Sprint(i)}}})
	}
	c, err := New(control.Deps{Client: w.Client(), View: w.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	k := &controltest.Kubelet{API: w.API, Delay: time.Second, Node: nodeOf,
		Sick: func(p *core.Pod) bool { return p.Spec.Containers[0].Image == "bad" },
		Seen: func(e client.EventType, _ *core.Pod) {
			if e == client.Added {
				w.created++
			}
			ready, all := 0, 0
			for _, p := range client.ListOf[core.Pod](w.View(), client.Select{}) {
				if p.DeletionTimestamp != nil {
					continue
				}
				all++
				if control.Ready(p) {
					ready++
				}
			}
			w.most, w.least = max(w.most, all), min(w.least, ready)
		}}
	controltest.Run(t, k.Run)
	return w
}

func (w *world) set() *apps.DaemonSet {
	w.t.Helper()
	ds, ok := client.Lookup[apps.DaemonSet](w.View(), key)
	if !ok {
		w.t.Fatal("the DaemonSet is gone")
	}
	return ds
}

func (w *world) change(fn func(*apps.DaemonSet)) {
	w.t.Helper()
	ds := object.Clone(w.set())
	fn(ds)
	if _, err := client.Update(w.t.Context(), w.Client(), ds); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) images() string {
	out := map[string]int{}
	for _, p := range client.ListOf[core.Pod](w.View(), client.Select{}) {
		out[p.Spec.Containers[0].Image]++
	}
	return fmt.Sprint(out)
}

func (w *world) nodes() string {
	var out []string
	for _, n := range client.ListOf[core.Node](w.View(), client.Select{}) {
		if len(client.ListOf[core.Pod](w.View(), client.Select{Node: n.Name})) > 0 {
			out = append(out, n.Name)
		}
	}
	return strings.Join(out, " ")
}

func image(s string) func(*apps.DaemonSet) {
	return func(ds *apps.DaemonSet) { ds.Spec.Template.Spec.Containers[0].Image = s }
}

func TestFollowsNodesAndTaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		w.Put(newSet(0, 1))
		w.Sleep(5 * time.Second)
		if got := w.nodes(); got != "n0 n1 n2" {
			t.Fatalf("runs on %s", got)
		}
		if st := w.set().Status; st.NumberAvailable != 3 || st.NumberUnavailable != 0 || st.UpdatedNumberScheduled != 3 {
			t.Errorf("status %+v", st)
		}
		taint := func(name string, effect core.TaintEffect) {
			n, _ := client.Lookup[core.Node](w.View(), object.Key{Name: name})
			n = object.Clone(n)
			n.Spec.Taints = []core.Taint{{Key: "k", Effect: effect}}
			w.Put(n)
		}
		taint("n0", core.TaintEffectNoSchedule)
		taint("n1", core.TaintEffectNoExecute)
		w.Put(&core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n3"}})
		w.Sleep(5 * time.Second)
		if got := w.nodes(); got != "n0 n2 n3" {
			t.Errorf("after taints and a new node: runs on %s", got)
		}
		if st := w.set().Status; st.DesiredNumberScheduled != 2 || st.NumberMisscheduled != 1 {
			t.Errorf("status %+v", st)
		}
		w.change(func(ds *apps.DaemonSet) { ds.Spec.Template.Spec.NodeSelector = map[string]string{"i": "2"} })
		w.Sleep(10 * time.Second)
		if got := w.nodes(); got != "n2" {
			t.Errorf("with a selector: runs on %s", got)
		}
	})
}

func TestRollingUpdateInPlaceAndRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		w.Put(newSet(0, 2))
		w.Sleep(5 * time.Second)
		w.most, w.least = 0, 5
		w.change(image("i:2"))
		w.Sleep(30 * time.Second)
		if got := w.images(); got != "map[i:2:5]" || w.most > 5 || w.least < 3 {
			t.Errorf("images %s, at most %d pods, at least %d ready", got, w.most, w.least)
		}
		w.change(image("bad"))
		w.Sleep(30 * time.Second)
		if got := w.images(); got != "map[bad:2 i:2:3]" {
			t.Errorf("bad update: %s", got)
		}
		w.created = 0
		w.change(image("i:2"))
		w.Sleep(30 * time.Second)
		if got := w.images(); got != "map[i:2:5]" || w.created != 2 {
			t.Errorf("rollback: %s, %d pods made, want only the bad ones replaced", got, w.created)
		}
		highest := int64(0)
		revs := client.ListOf[apps.ControllerRevision](w.View(), client.Select{})
		for _, r := range revs {
			highest = max(highest, r.Revision)
		}
		if len(revs) != 3 || highest != 4 {
			t.Errorf("%d revisions up to %d, want 3 up to 4", len(revs), highest)
		}
	})
}

func TestRollingUpdateWithSurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		w.Put(newSet(2, 0))
		w.Sleep(5 * time.Second)
		w.most, w.least = 0, 5
		w.change(image("i:2"))
		w.Sleep(60 * time.Second)
		if got := w.images(); got != "map[i:2:5]" || w.least < 5 {
			t.Errorf("images %s, at least %d ready", got, w.least)
		}
		if w.most > 5+2 {
			t.Errorf("%d pods at the same time", w.most)
		}
	})
}

func TestFailedPodIsReplacedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.Put(newSet(0, 1))
		w.Sleep(5 * time.Second)
		fail := func() {
			p := object.Clone(client.ListOf[core.Pod](w.View(), client.Select{})[0])
			p.Status.Phase = core.PodFailed
			w.Put(p)
		}
		w.created = 0
		fail()
		w.Sleep(500 * time.Millisecond)
		if w.created != 1 {
			t.Fatalf("%d pods made at once, want 1", w.created)
		}
		fail()
		w.Sleep(400 * time.Millisecond)
		if w.created != 1 {
			t.Errorf("%d pods made without back-off", w.created-1)
		}
		w.Sleep(5 * time.Second)
		if w.created != 2 {
			t.Errorf("%d pods made, want 2", w.created)
		}
	})
}
