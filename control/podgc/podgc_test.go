package podgc

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
)

func pod(name, node string, change func(*core.Pod)) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: core.PodSpec{NodeName: node}}
	if change != nil {
		change(p)
	}
	return p
}

func going(p *core.Pod) {
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = new(metav1.Now()), new(int64(30))
}

func names(a *controltest.API) string {
	var out []string
	for _, p := range client.ListOf[core.Pod](a.View(), client.Select{}) {
		out = append(out, p.Name)
	}
	return fmt.Sprint(out)
}

func TestWhoIsCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		c, err := New(control.Deps{Client: a.Client(), View: a.View()})
		if err != nil {
			t.Fatal(err)
		}
		ready := core.NodeStatus{Conditions: []core.NodeCondition{{Type: core.NodeReady, Status: core.ConditionTrue}}}
		oos := core.NodeSpec{Taints: []core.Taint{{Key: core.TaintNodeOutOfService, Effect: core.TaintEffectNoExecute}}}
		a.Put(&core.Node{ObjectMeta: metav1.ObjectMeta{Name: "good"}, Status: ready})
		leaving := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "leaving"}, Status: ready}
		a.Put(leaving)
		a.Put(&core.Node{ObjectMeta: metav1.ObjectMeta{Name: "dead"}, Spec: oos})
		a.Put(
			pod("1-runs", "good", nil), pod("2-going", "good", going), pod("3-no-node", "", nil), pod("4-going-no-node", "", going),
			pod("5-lost", "nowhere", nil), pod("6-on-dead", "dead", nil), pod("7-going-on-dead", "dead", going), pod("8-leaving", "leaving", nil),
		)
		controltest.Run(t, c.Run)
		time.Sleep(time.Second)
		if got, want := names(a), "[1-runs 2-going 3-no-node 5-lost 6-on-dead 8-leaving]"; got != want {
			t.Errorf("at once: got %s, want %s", got, want)
		}
		a.Remove(leaving)
		time.Sleep(39*time.Second + 500*time.Millisecond)
		if got, want := names(a), "[1-runs 2-going 3-no-node 6-on-dead 8-leaving]"; got != want {
			t.Errorf("after 40 s: got %s, want %s", got, want)
		}
		time.Sleep(2 * time.Second)
		if got, want := names(a), "[1-runs 2-going 3-no-node 6-on-dead]"; got != want {
			t.Errorf("after 42 s: got %s, want %s", got, want)
		}
	})
}

func TestSurplusTakesEvictedThenOldest(t *testing.T) {
	at := func(minute int) func(*core.Pod) {
		return func(p *core.Pod) {
			p.CreationTimestamp = metav1.NewTime(controltest.Start.Add(time.Duration(minute) * time.Minute))
			p.Status.Phase = core.PodSucceeded
		}
	}
	evicted := pod("evicted", "n", at(9))
	evicted.Status.Phase, evicted.Status.Reason = core.PodFailed, "Evicted"
	changes := surplus([]*core.Pod{pod("new", "n", at(3)), pod("old", "n", at(1)), evicted, pod("older", "n", at(0))}, 1, controltest.Start)
	got := controltest.Describe(changes, control.Done)
	want := "delete Pod default/evicted grace=0\ndelete Pod default/older grace=0\ndelete Pod default/old grace=0\n"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
