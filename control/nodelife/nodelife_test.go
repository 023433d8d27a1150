package nodelife

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func node(name string, ready core.ConditionStatus) *core.Node {
	return &core.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     core.NodeStatus{Conditions: []core.NodeCondition{{Type: core.NodeReady, Status: ready}}},
	}
}

func taints(t *testing.T, a *controltest.API, name string) []string {
	t.Helper()
	n, ok := client.Lookup[core.Node](a.View(), object.Key{Name: name})
	if !ok {
		t.Fatalf("node %s is gone", name)
	}
	var out []string
	for _, taint := range n.Spec.Taints {
		out = append(out, taint.Key+":"+string(taint.Effect))
	}
	slices.Sort(out)
	return out
}

func want(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func start(t *testing.T) *controltest.API {
	a := controltest.New(t)
	a.Serve(&core.Node{}, &core.Pod{}, &coordination.Lease{})
	c, err := New(control.Deps{Client: a.Client(), View: a.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	return a
}

// renew renews a node's lease every 10 seconds, n times.
func renew(a *controltest.API, n int, names ...string) {
	for range n {
		for _, name := range names {
			a.Put(&coordination.Lease{
				ObjectMeta: metav1.ObjectMeta{Namespace: core.NamespaceNodeLease, Name: name},
				Spec:       coordination.LeaseSpec{RenewTime: new(metav1.NowMicro())},
			})
		}
		time.Sleep(10 * time.Second)
	}
}

func pod(name, on string, tolerations ...core.Toleration) *core.Pod {
	return &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       core.PodSpec{NodeName: on, Tolerations: tolerations},
		Status:     core.PodStatus{Phase: core.PodRunning, Conditions: []core.PodCondition{{Type: core.PodReady, Status: core.ConditionTrue}}},
	}
}

func TestNodeDiesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.Put(node("good", core.ConditionTrue), node("bad", core.ConditionTrue))
		tol := func(seconds int64) core.Toleration {
			return core.Toleration{Key: core.TaintNodeUnreachable, Operator: core.TolerationOpExists, Effect: core.TaintEffectNoExecute, TolerationSeconds: &seconds}
		}
		a.Put(pod("none", "bad"), pod("some", "bad", tol(300)),
			pod("all", "bad", core.Toleration{Operator: core.TolerationOpExists}), pod("elsewhere", "good"))
		renew(a, 10, "good", "bad")
		want(t, "both alive", taints(t, a, "bad"), nil)
		renew(a, 7, "good")
		want(t, "one dead", taints(t, a, "bad"), []string{"node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/unreachable:NoSchedule"})
		left := func() (out []string) {
			for _, p := range client.ListOf[core.Pod](a.View(), client.Select{}) {
				if p.DeletionTimestamp == nil {
					out = append(out, fmt.Sprintf("%s ready=%v", p.Name, control.Ready(p)))
				}
			}
			return out
		}
		want(t, "pods", left(), []string{"all ready=false", "elsewhere ready=true", "some ready=false"})
		renew(a, 30, "good")
		want(t, "pods after 300 s", left(), []string{"all ready=false", "elsewhere ready=true"})
		n := node("bad", core.ConditionTrue)
		n.Status.Conditions[0].LastHeartbeatTime = metav1.Now()
		old, _ := client.Lookup[core.Node](a.View(), object.Key{Name: "bad"})
		n.Spec = old.Spec
		a.Put(n)
		time.Sleep(time.Second)
		want(t, "back", taints(t, a, "bad"), nil)
	})
}

func TestNoEvictionWhenEverythingIsBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.Put(node("one", core.ConditionTrue), node("two", core.ConditionTrue), pod("p", "one"))
		renew(a, 3, "one", "two")
		time.Sleep(2 * time.Minute)
		want(t, "all dead", taints(t, a, "one"), []string{"node.kubernetes.io/unreachable:NoSchedule"})
		p, _ := client.Lookup[core.Pod](a.View(), object.Key{Namespace: "default", Name: "p"})
		if p.DeletionTimestamp != nil {
			t.Error("a pod was deleted although every node is bad")
		}
	})
}

func TestConditionsAndCordonBecomeTaints(t *testing.T) {
	n := node("n", core.ConditionFalse)
	n.Spec.Unschedulable = true
	n.Spec.Taints = []core.Taint{{Key: "mine", Effect: core.TaintEffectNoSchedule}, {Key: core.TaintNodeUnreachable, Effect: core.TaintEffectNoExecute}}
	n.Status.Conditions = append(n.Status.Conditions, core.NodeCondition{Type: core.NodeDiskPressure, Status: core.ConditionTrue})
	var got []string
	for _, taint := range planTaints(n, true, controltest.Start).Spec.Taints {
		got = append(got, taint.ToString())
	}
	want(t, "taints", got, []string{
		"mine:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule", "node.kubernetes.io/not-ready:NoSchedule",
		"node.kubernetes.io/not-ready:NoExecute", "node.kubernetes.io/disk-pressure:NoSchedule",
	})
}

func TestZones(t *testing.T) {
	var nodes []*core.Node
	zone := func(name string, good, bad int) {
		for i := range good + bad {
			s := core.ConditionTrue
			if i >= good {
				s = core.ConditionUnknown
			}
			n := node(fmt.Sprint(name, i), s)
			n.Labels = map[string]string{core.LabelTopologyZone: name}
			nodes = append(nodes, n)
		}
	}
	zone("fine", 3, 1)
	zone("shaky", 2, 4)
	zone("down", 0, 3)
	got := mayEvict(nodes, func(string) bool { return false })
	for zone, want := range map[string]bool{"/fine": true, "/shaky": false, "/down": true} {
		if got[zone] != want {
			t.Errorf("zone %s: got %v, want %v", zone, got[zone], want)
		}
	}
}

// A node that has no conditions yet is not kept from pods by the taint that it registered with, only where pods are driven off.
func TestNodeWithoutConditions(t *testing.T) {
	n := node("n", core.ConditionTrue)
	n.Status.Conditions = nil
	n.Spec.Taints = []core.Taint{{Key: core.TaintNodeNotReady, Effect: core.TaintEffectNoSchedule}, {Key: core.TaintNodeNotReady, Effect: core.TaintEffectNoExecute}}
	var got []string
	for _, taint := range planTaints(n, true, controltest.Start).Spec.Taints {
		got = append(got, taint.ToString())
	}
	want(t, "taints", got, []string{"node.kubernetes.io/not-ready:NoExecute"})
}
