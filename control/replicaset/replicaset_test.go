package replicaset

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func TestPlan(t *testing.T) {
	controltest.Plan(t, func(c controltest.Case) ([]control.Change, control.Again) {
		s, err := fromReplicaSet(controltest.Pick[apps.ReplicaSet](c)[0])
		if err != nil {
			t.Fatal(err)
		}
		var mine []*core.Pod
		for _, p := range controltest.Pick[core.Pod](c) {
			if control.Active(p) {
				mine = append(mine, p)
			}
		}
		changes := planPods(s, mine, mine)
		st, again := planStatus(s, mine, nil, nil, c.Now)
		if st != nil {
			changes = append(changes, control.Change{Op: control.Status, Object: s.withStatus(*st)})
		}
		return changes, again
	})
}

func newSet(replicas int32) *apps.ReplicaSet {
	return &apps.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Generation: 1},
		Spec: apps.ReplicaSetSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: core.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
		},
	}
}

// start runs the controller over an API until the test ends, inside a synctest bubble.
func start(t *testing.T) *controltest.API {
	a := controltest.New(t)
	a.Serve(&apps.ReplicaSet{}, &core.Pod{}, &core.ReplicationController{})
	c, err := New(control.Deps{Client: a.Client(), View: a.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	return a
}

func status(t *testing.T, a *controltest.API) apps.ReplicaSetStatus {
	t.Helper()
	rs, ok := client.Lookup[apps.ReplicaSet](a.View(), object.Key{Namespace: "default", Name: "web"})
	if !ok {
		t.Fatal("the ReplicaSet is gone")
	}
	return rs.Status
}

func pods(a *controltest.API) []*core.Pod {
	return client.ListOf[core.Pod](a.View(), client.Select{Namespace: "default"})
}

func markReady(a *controltest.API, p *core.Pod) {
	p = object.Clone(p)
	p.Status.Phase = core.PodRunning
	p.Status.Conditions = []core.PodCondition{{Type: core.PodReady, Status: core.ConditionTrue, LastTransitionTime: metav1.Now()}}
	a.Put(p)
}

func TestFewWritesFromCreateToComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.Put(newSet(2))
		synctest.Wait()
		for _, p := range pods(a) {
			markReady(a, p)
		}
		time.Sleep(time.Minute)
		var verbs []string
		for _, w := range a.Writes() {
			verbs = append(verbs, strings.Join(strings.Fields(w)[:2], " "))
		}
		if diff := cmp.Diff([]string{"create pods", "create pods", "update replicasets/status"}, verbs); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		want := apps.ReplicaSetStatus{
			Replicas: 2, FullyLabeledReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 2,
			TerminatingReplicas: new(int32), ObservedGeneration: 1,
		}
		if diff := cmp.Diff(want, status(t, a)); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
	})
}

func TestAdoptAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.Put(&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "stray", Labels: map[string]string{"app": "web"}}})
		a.Put(newSet(1))
		time.Sleep(time.Second)
		p := pods(a)
		if len(p) != 1 || metav1.GetControllerOf(p[0]) == nil {
			t.Fatalf("got %d pods, controller %v; want the stray adopted and nothing created", len(p), metav1.GetControllerOf(p[0]))
		}
		other := object.Clone(p[0])
		other.Labels = map[string]string{"app": "debug"}
		a.Put(other)
		time.Sleep(time.Second)
		p = pods(a)
		if len(p) != 2 || metav1.GetControllerOf(p[0]) != nil {
			t.Fatalf("got %d pods, stray has controller %v; want it released and replaced", len(p), metav1.GetControllerOf(p[0]))
		}
	})
}

func TestFailureShowsAndVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.Refuse(func(verb string, tg client.Target, _ object.Object) error {
			if verb == "create" && tg.Resource.Resource == "pods" && len(pods(a)) >= 2 {
				return apierrors.NewForbidden(tg.GroupResource(), "", fmt.Errorf("exceeded quota: q"))
			}
			return nil
		})
		a.Put(newSet(3))
		time.Sleep(time.Second)
		st := status(t, a)
		if len(st.Conditions) != 1 || st.Conditions[0].Reason != "FailedCreate" || st.Replicas != 2 {
			t.Fatalf("got %+v, want 2 replicas and condition FailedCreate", st)
		}
		rs := newSet(2)
		rs.Status = st
		rs.Generation = 2
		a.Put(rs)
		time.Sleep(time.Second)
		if st := status(t, a); len(st.Conditions) != 0 || st.ObservedGeneration != 2 {
			t.Errorf("got %+v after scale-down, want no condition", st)
		}
	})
}

func TestControllerOfOldKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.Put(&core.ReplicationController{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "old"},
			Spec: core.ReplicationControllerSpec{
				Replicas: new(int32(2)), Selector: map[string]string{"app": "old"},
				Template: &core.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "old"}}},
			},
		})
		time.Sleep(time.Second)
		rc, _ := client.Lookup[core.ReplicationController](a.View(), object.Key{Namespace: "default", Name: "old"})
		if rc.Status.Replicas != 2 || len(pods(a)) != 2 {
			t.Errorf("got %d pods and status %+v, want 2", len(pods(a)), rc.Status)
		}
	})
}

func BenchmarkScaleTo500(b *testing.B) {
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background())
		a := controltest.New(b)
		c, _ := New(control.Deps{Client: a.Client(), View: a.View()})
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		a.Put(newSet(500))
		for deadline := time.Now().Add(10 * time.Second); len(pods(a)) < 500 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		cancel()
		<-done
	}
}
