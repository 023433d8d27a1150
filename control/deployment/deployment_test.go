package deployment

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/control/replicaset"
	"proa.dev/object"
)

func TestPlan(t *testing.T) {
	controltest.Plan(t, func(c controltest.Case) ([]control.Change, control.Again) {
		d := controltest.Pick[apps.Deployment](c)[0]
		r := plan(state{
			d: d, sets: controltest.Pick[apps.ReplicaSet](c), busy: map[types.UID]bool{},
			named: func(string) (*apps.ReplicaSet, bool) { return nil, false },
		}, c.Now)
		n := object.Clone(d)
		n.Status = r.status
		return append(r.changes, control.Change{Op: control.Status, Object: n}), r.again
	})
}

var key = object.Key{Namespace: "default", Name: "web"}

func newDeployment(replicas int32, strategy apps.DeploymentStrategyType) *apps.Deployment {
	d := &apps.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: apps.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			ProgressDeadlineSeconds: new(int32(60)), RevisionHistoryLimit: new(int32(10)),
			Strategy: apps.DeploymentStrategy{Type: strategy},
			Template: core.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       core.PodSpec{Containers: []core.Container{{Name: "c", Image: "i:1"}}},
			},
		},
	}
	if strategy == apps.RollingUpdateDeploymentStrategyType {
		d.Spec.Strategy.RollingUpdate = &apps.RollingUpdateDeployment{
			MaxSurge: new(intstr.FromString("25%")), MaxUnavailable: new(intstr.FromString("25%")),
		}
	}
	return d
}

// world is a cluster of the two controllers, an API and a kubelet that makes pods ready one second after they were created, unless
// their image is bad, and lets them go one second after they were deleted.
type world struct {
	*controltest.API
	t *testing.T
	// most and least are the extremes of pods that the ReplicaSets are to have in all, and of ready pods, since they were reset.
	most, least int
}

func newWorld(t *testing.T) *world {
	w := &world{API: controltest.New(t), t: t, least: 1 << 30}
	w.Serve(&apps.Deployment{}, &apps.ReplicaSet{}, &core.Pod{}, &core.ReplicationController{})
	deps := control.Deps{Client: w.Client(), View: w.View()}
	d, err := New(deps)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := replicaset.New(deps)
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, d.Run)
	controltest.Run(t, rs.Run)
	controltest.Run(t, w.kubelet)
	return w
}

func (w *world) kubelet(ctx context.Context) error {
	return client.Watch[core.Pod](ctx, w.View(), func(e client.EventType, p, _ *core.Pod) {
		if e == client.Added {
			n := object.Clone(p)
			n.Spec.NodeName = "n1"
			w.Put(n)
			time.AfterFunc(time.Second, func() { w.ready(object.KeyOf(p)) })
		}
		if e == client.Modified && p.DeletionTimestamp != nil {
			time.AfterFunc(time.Second, func() { w.Remove(p) })
		}
		w.measure()
	})
}

func (w *world) ready(k object.Key) {
	p, ok := client.Lookup[core.Pod](w.View(), k)
	if !ok || p.Spec.Containers[0].Image == "bad" || p.DeletionTimestamp != nil {
		return
	}
	p = object.Clone(p)
	p.Status.Phase = core.PodRunning
	p.Status.Conditions = []core.PodCondition{{Type: core.PodReady, Status: core.ConditionTrue, LastTransitionTime: metav1.Now()}}
	w.Put(p)
}

func (w *world) measure() {
	ready, all := 0, 0
	for _, p := range client.ListOf[core.Pod](w.View(), client.Select{}) {
		if p.DeletionTimestamp == nil && control.Ready(p) {
			ready++
		}
	}
	for _, rs := range client.ListOf[apps.ReplicaSet](w.View(), client.Select{}) {
		all += int(*rs.Spec.Replicas)
	}
	w.most, w.least = max(w.most, all), min(w.least, ready)
}

func (w *world) deployment() *apps.Deployment {
	d, ok := client.Lookup[apps.Deployment](w.View(), key)
	if !ok {
		w.t.Fatal("the Deployment is gone")
	}
	return d
}

func (w *world) change(fn func(*apps.Deployment)) {
	w.t.Helper()
	d := object.Clone(w.deployment())
	fn(d)
	if _, err := client.Update(w.t.Context(), w.Client(), d); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantComplete(n int32) {
	w.t.Helper()
	d := w.deployment()
	if !complete(d, &d.Status) || d.Status.Replicas != n {
		w.t.Fatalf("got %+v, want %d complete", d.Status, n)
	}
	if c := condition(d.Status, apps.DeploymentProgressing); c == nil || c.Reason != "NewReplicaSetAvailable" {
		w.t.Errorf("got condition %+v, want NewReplicaSetAvailable", c)
	}
}

func image(s string) func(*apps.Deployment) {
	return func(d *apps.Deployment) { d.Spec.Template.Spec.Containers[0].Image = s }
}

func TestRollingUpdateKeepsItsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Put(newDeployment(10, apps.RollingUpdateDeploymentStrategyType))
		w.Sleep(5 * time.Second)
		w.wantComplete(10)
		w.most, w.least = 0, 1<<30
		w.change(image("i:2"))
		w.Sleep(20 * time.Second)
		w.wantComplete(10)
		if w.most > 13 || w.least < 8 {
			t.Errorf("between %d ready and %d pods, want 8 to 13", w.least, w.most)
		}
		if got := w.deployment().Annotations[RevisionAnnotation]; got != "2" {
			t.Errorf("revision %s, want 2", got)
		}
		w.change(image("i:1"))
		w.Sleep(20 * time.Second)
		w.wantComplete(10)
		if n := len(client.ListOf[apps.ReplicaSet](w.View(), client.Select{})); n != 2 {
			t.Errorf("%d ReplicaSets after undo, want the old one used again", n)
		}
		if got := w.deployment().Annotations[RevisionAnnotation]; got != "3" {
			t.Errorf("revision %s, want 3", got)
		}
	})
}

func TestFirstRolloutInFewWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Put(newDeployment(1, apps.RollingUpdateDeploymentStrategyType))
		w.Sleep(10 * time.Second)
		w.wantComplete(1)
		got := map[string]int{}
		for _, line := range w.Writes() {
			got[line[:len(line)-len(line[lastSpace(line):])]]++
		}
		want := map[string]int{
			"create replicasets": 1, "create pods": 1,
			// twice: the kubelet of this test takes a second, longer than a status is held back
			"update replicasets/status": 2, "update deployments/status": 2,
			"patch deployments": 1,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
	})
}

func TestProgressWhileNoPodIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := newDeployment(2, apps.RollingUpdateDeploymentStrategyType)
		image("bad")(d)
		w.Put(d)
		w.Sleep(10 * time.Second)
		c := condition(w.deployment().Status, apps.DeploymentProgressing)
		if c == nil || c.Reason != "ReplicaSetUpdated" || !strings.HasSuffix(c.Message, " is progressing.") {
			t.Errorf("got condition %+v, want ReplicaSetUpdated", c)
		}
	})
}

func lastSpace(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == ' ' {
			return i
		}
	}
	return len(s)
}

func TestBadTemplateKeepsTheGoodPodsAndTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Put(newDeployment(4, apps.RollingUpdateDeploymentStrategyType))
		w.Sleep(5 * time.Second)
		w.change(image("bad"))
		w.Sleep(2 * time.Minute)
		d := w.deployment()
		if d.Status.AvailableReplicas != 3 || d.Status.UpdatedReplicas != 2 {
			t.Errorf("got %+v, want 3 available and 2 updated", d.Status)
		}
		if c := condition(d.Status, apps.DeploymentProgressing); c.Reason != "ProgressDeadlineExceeded" || c.Status != core.ConditionFalse {
			t.Errorf("got %+v, want ProgressDeadlineExceeded", c)
		}
		w.change(image("i:1"))
		w.Sleep(10 * time.Second)
		w.wantComplete(4)
	})
}

func TestRecreateNeverOverlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Put(newDeployment(3, apps.RecreateDeploymentStrategyType))
		w.Sleep(5 * time.Second)
		w.wantComplete(3)
		overlap := false
		controltest.Run(t, func(ctx context.Context) error {
			return client.Watch[core.Pod](ctx, w.View(), func(client.EventType, *core.Pod, *core.Pod) {
				images := map[string]bool{}
				for _, p := range client.ListOf[core.Pod](w.View(), client.Select{}) {
					images[p.Spec.Containers[0].Image] = true
				}
				overlap = overlap || len(images) > 1
			})
		})
		w.change(image("i:2"))
		w.Sleep(20 * time.Second)
		w.wantComplete(3)
		if overlap {
			t.Error("pods of both templates existed at the same time")
		}
	})
}

func TestPauseScaleAndHistoryLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Put(newDeployment(2, apps.RollingUpdateDeploymentStrategyType))
		w.Sleep(5 * time.Second)
		w.change(func(d *apps.Deployment) { d.Spec.Paused = true; d.Spec.Replicas = new(int32(4)); image("i:2")(d) })
		w.Sleep(5 * time.Second)
		d := w.deployment()
		if n := len(client.ListOf[apps.ReplicaSet](w.View(), client.Select{})); n != 1 || d.Status.Replicas != 4 {
			t.Errorf("%d ReplicaSets, %d replicas; want paused: the old template scaled to 4", n, d.Status.Replicas)
		}
		w.change(func(d *apps.Deployment) { d.Spec.Paused = false; d.Spec.RevisionHistoryLimit = new(int32) })
		w.Sleep(20 * time.Second)
		w.wantComplete(4)
		if n := len(client.ListOf[apps.ReplicaSet](w.View(), client.Select{})); n != 1 {
			t.Errorf("%d ReplicaSets, want the old one gone", n)
		}
	})
}

func TestCollisionTakesAnotherName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := newDeployment(1, apps.RollingUpdateDeploymentStrategyType)
		w.Put(&apps.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: setName("web", control.Hash(&d.Spec.Template, nil))},
			Spec: apps.ReplicaSetSpec{
				Replicas: new(int32), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}},
			},
		})
		w.Put(d)
		w.Sleep(5 * time.Second)
		w.wantComplete(1)
		if n := control.Or(w.deployment().Status.CollisionCount, 0); n != 1 {
			t.Errorf("collisionCount %d, want 1", n)
		}
	})
}
