package disruption

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func pod(name string, ready bool, owner object.Object) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}}}
	p.Status.Phase = core.PodRunning
	if ready {
		p.Status.Conditions = []core.PodCondition{{Type: core.PodReady, Status: core.ConditionTrue}}
	}
	if owner != nil {
		p.OwnerReferences = []metav1.OwnerReference{control.RefOf(owner)}
	}
	return p
}

func budget(spec policy.PodDisruptionBudgetSpec) *policy.PodDisruptionBudget {
	spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	return &policy.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b", Generation: 1}, Spec: spec}
}

func num(n int32) *intstr.IntOrString         { v := intstr.FromInt32(n); return &v }
func percent(text string) *intstr.IntOrString { v := intstr.FromString(text); return &v }

func start(t *testing.T) *controltest.API {
	a := controltest.New(t)
	a.Serve(&policy.PodDisruptionBudget{}, &core.Pod{}, &apps.Deployment{}, &apps.ReplicaSet{}, &apps.StatefulSet{}, &core.ReplicationController{})
	c, err := New(control.Deps{Client: a.Client(), View: a.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	return a
}

func status(t *testing.T, a *controltest.API) policy.PodDisruptionBudgetStatus {
	t.Helper()
	time.Sleep(time.Second)
	b, ok := client.Lookup[policy.PodDisruptionBudget](a.View(), object.Key{Namespace: "default", Name: "b"})
	if !ok {
		t.Fatal("no budget")
	}
	return b.Status
}

func show(s policy.PodDisruptionBudgetStatus) string {
	c := meta.FindStatusCondition(s.Conditions, policy.DisruptionAllowedCondition)
	reason := ""
	if c != nil {
		reason = c.Reason + c.Message
	}
	return fmt.Sprintf("%d of %d healthy, %d needed, %d allowed, %d going: %s", s.CurrentHealthy, s.ExpectedPods, s.DesiredHealthy, s.DisruptionsAllowed, len(s.DisruptedPods), reason)
}

func TestStatus(t *testing.T) {
	four := int32(4)
	d := &apps.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "d"}, Spec: apps.DeploymentSpec{Replicas: &four}}
	rs := &apps.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1", UID: "r", OwnerReferences: []metav1.OwnerReference{control.RefOf(d)}},
		Spec: apps.ReplicaSetSpec{Replicas: new(int32)}}
	for _, tc := range []struct {
		name string
		spec policy.PodDisruptionBudgetSpec
		pods []*core.Pod
		want string
	}{
		{"nothing there", policy.PodDisruptionBudgetSpec{MinAvailable: num(0)}, nil, "0 of 0 healthy, 0 needed, 0 allowed, 0 going: InsufficientPods"},
		{"a number", policy.PodDisruptionBudgetSpec{MinAvailable: num(1)}, []*core.Pod{pod("a", true, nil), pod("b", true, nil), pod("c", false, nil)},
			"2 of 3 healthy, 1 needed, 1 allowed, 0 going: SufficientPods"},
		{"a share of the deployment", policy.PodDisruptionBudgetSpec{MinAvailable: percent("30%")}, []*core.Pod{pod("a", true, rs), pod("b", true, rs), pod("c", true, rs)},
			"3 of 4 healthy, 2 needed, 1 allowed, 0 going: SufficientPods"},
		{"so many less", policy.PodDisruptionBudgetSpec{MaxUnavailable: num(3)}, []*core.Pod{pod("a", true, rs), pod("b", true, rs)},
			"2 of 4 healthy, 1 needed, 1 allowed, 0 going: SufficientPods"},
		{"a share less", policy.PodDisruptionBudgetSpec{MaxUnavailable: percent("50%")}, []*core.Pod{pod("a", true, rs)},
			"1 of 4 healthy, 2 needed, 0 allowed, 0 going: InsufficientPods"},
		{"strays", policy.PodDisruptionBudgetSpec{MaxUnavailable: num(1)}, []*core.Pod{pod("a", true, nil)}, "1 of 0 healthy, 0 needed, 0 allowed, 0 going: InsufficientPods"},
		{"owner gone", policy.PodDisruptionBudgetSpec{MaxUnavailable: num(1)}, []*core.Pod{pod("a", true, &apps.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "no", UID: "no"}})},
			`0 of 0 healthy, 0 needed, 0 allowed, 0 going: SyncFailedfound no controllers for pod "a"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t)
				a.Put(d, rs)
				for _, p := range tc.pods {
					a.Put(p)
				}
				a.Put(budget(tc.spec))
				if got := show(status(t, a)); got != tc.want {
					t.Errorf("got  %s\nwant %s", got, tc.want)
				}
			})
		})
	}
}

// A pod whose eviction was allowed does not count as healthy until it is gone, or until it has stayed for too long.
func TestDisruptedPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.Put(pod("a", true, nil), pod("b", true, nil), pod("c", true, nil))
		b := budget(policy.PodDisruptionBudgetSpec{MinAvailable: num(1)})
		b.Status.DisruptedPods = map[string]metav1.Time{"a": metav1.Now(), "b": metav1.Now(), "other": metav1.Now()}
		a.Put(b)
		if got, want := show(status(t, a)), "1 of 3 healthy, 1 needed, 0 allowed, 2 going: InsufficientPods"; got != want {
			t.Errorf("two are going: got %s, want %s", got, want)
		}
		a.Remove(pod("a", true, nil))
		if got, want := show(status(t, a)), "1 of 2 healthy, 1 needed, 0 allowed, 1 going: InsufficientPods"; got != want {
			t.Errorf("one is gone: got %s, want %s", got, want)
		}
		time.Sleep(patience)
		if got, want := show(status(t, a)), "2 of 2 healthy, 1 needed, 1 allowed, 0 going: SufficientPods"; got != want {
			t.Errorf("the other has stayed: got %s, want %s", got, want)
		}
	})
}

func TestStaleConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		p := pod("a", true, nil)
		p.Status.Conditions = append(p.Status.Conditions, core.PodCondition{Type: core.DisruptionTarget, Status: core.ConditionTrue,
			Reason: "EvictionByEvictionAPI", LastTransitionTime: metav1.Now()})
		a.Put(p)
		for _, step := range []struct {
			wait time.Duration
			want core.ConditionStatus
		}{{time.Second, core.ConditionTrue}, {patience, core.ConditionFalse}} {
			time.Sleep(step.wait)
			now, _ := client.Lookup[core.Pod](a.View(), object.KeyOf(p))
			if c := control.Condition(now, core.DisruptionTarget); c.Status != step.want {
				t.Errorf("after %v more: got %s, want %s", step.wait, c.Status, step.want)
			}
		}
	})
}
