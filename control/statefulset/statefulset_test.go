package statefulset

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func TestPlan(t *testing.T) {
	controltest.Plan(t, func(c controltest.Case) ([]control.Change, control.Again) {
		set := controltest.Pick[apps.StatefulSet](c)[0]
		s := state{set: set, pods: controltest.Pick[core.Pod](c), revisions: controltest.Pick[apps.ControllerRevision](c)}
		s.revision = func(string) (*apps.ControllerRevision, bool) { return nil, false }
		s.claim = func(name string) (*core.PersistentVolumeClaim, bool) {
			for _, claim := range controltest.Pick[core.PersistentVolumeClaim](c) {
				if claim.Name == name {
					return claim, true
				}
			}
			return nil, false
		}
		changes, status, again, err := plan(s, c.Now)
		if err != nil {
			t.Fatal(err)
		}
		n := object.Clone(set)
		n.Status = status
		return append(changes, control.Change{Op: control.Status, Object: n}), again
	})
}

var key = object.Key{Namespace: "default", Name: "db"}

func newSet(replicas int32, policy apps.PodManagementPolicyType) *apps.StatefulSet {
	return &apps.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"},
		Spec: apps.StatefulSetSpec{
			Replicas: &replicas, ServiceName: "db", PodManagementPolicy: policy, RevisionHistoryLimit: new(int32(10)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			UpdateStrategy: apps.StatefulSetUpdateStrategy{
				Type: apps.RollingUpdateStatefulSetStrategyType, RollingUpdate: &apps.RollingUpdateStatefulSetStrategy{Partition: new(int32)},
			},
			Template: core.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}},
				Spec:       core.PodSpec{Containers: []core.Container{{Name: "c", Image: "i:1"}}},
			},
			VolumeClaimTemplates: []core.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}},
		},
	}
}

type world struct {
	*controltest.API
	t    *testing.T
	log  []string        // "+db-0", "-db-0" as pods come and go
	sick map[string]bool // by name
}

func newWorld(t *testing.T) *world {
	w := &world{API: controltest.New(t), t: t, sick: map[string]bool{}}
	w.Serve(&apps.StatefulSet{}, &core.Pod{}, &core.PersistentVolumeClaim{}, &apps.ControllerRevision{})
	c, err := New(control.Deps{Client: w.Client(), View: w.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	k := &controltest.Kubelet{API: w.API, Delay: time.Second, Sick: func(p *core.Pod) bool { return w.sick[p.Name] || p.Spec.Containers[0].Image == "bad" },
		Seen: func(e client.EventType, p *core.Pod) {
			switch e {
			case client.Added:
				w.log = append(w.log, "+"+p.Name)
			case client.Deleted:
				w.log = append(w.log, "-"+p.Name)
			}
		}}
	controltest.Run(t, k.Run)
	return w
}

func (w *world) set() *apps.StatefulSet {
	w.t.Helper()
	s, ok := client.Lookup[apps.StatefulSet](w.View(), key)
	if !ok {
		w.t.Fatal("the StatefulSet is gone")
	}
	return s
}

func (w *world) change(fn func(*apps.StatefulSet)) {
	w.t.Helper()
	s := object.Clone(w.set())
	fn(s)
	if _, err := client.Update(w.t.Context(), w.Client(), s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantLog(want string) {
	w.t.Helper()
	if got := strings.Join(w.log, " "); got != want {
		w.t.Errorf("pods: got %s, want %s", got, want)
	}
	w.log = nil
}

func (w *world) pod(name string) *core.Pod {
	w.t.Helper()
	p, ok := client.Lookup[core.Pod](w.View(), object.Key{Namespace: "default", Name: name})
	if !ok {
		w.t.Fatalf("pod %s is gone", name)
	}
	return p
}

func (w *world) images() string {
	var out []string
	for _, p := range client.ListOf[core.Pod](w.View(), client.Select{}) {
		out = append(out, p.Name+"="+p.Spec.Containers[0].Image)
	}
	return strings.Join(out, " ")
}

func image(s string) func(*apps.StatefulSet) {
	return func(set *apps.StatefulSet) { set.Spec.Template.Spec.Containers[0].Image = s }
}

func TestOrderedLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["db-1"] = true
		w.Put(newSet(3, apps.OrderedReadyPodManagement))
		w.Sleep(10 * time.Second)
		w.wantLog("+db-0 +db-1") // db-1 never gets ready
		w.sick["db-1"] = false
		p := object.Clone(w.pod("db-1"))
		p.Status.Phase, p.Status.Conditions = core.PodRunning, []core.PodCondition{{Type: core.PodReady, Status: core.ConditionTrue}}
		w.Put(p)
		w.Sleep(5 * time.Second)
		w.wantLog("+db-2")
		if n := len(client.ListOf[core.PersistentVolumeClaim](w.View(), client.Select{})); n != 3 {
			t.Errorf("%d claims, want 3", n)
		}
		got := w.pod("db-2")
		if got.Labels[apps.PodIndexLabel] != "2" || got.Spec.Hostname != "db-2" || got.Spec.Subdomain != "db" || got.Spec.Volumes[0].PersistentVolumeClaim.ClaimName != "data-db-2" {
			t.Errorf("identity of db-2: %+v %+v", got.Labels, got.Spec)
		}
		st := w.set().Status
		if st.ReadyReplicas != 3 || st.UpdatedReplicas != 3 || st.CurrentRevision != st.UpdateRevision || st.CurrentRevision == "" {
			t.Errorf("status %+v", st)
		}
		w.change(image("i:2"))
		w.Sleep(20 * time.Second)
		w.wantLog("-db-2 +db-2 -db-1 +db-1 -db-0 +db-0")
		if got := w.images(); got != "db-0=i:2 db-1=i:2 db-2=i:2" {
			t.Error(got)
		}
		w.change(func(s *apps.StatefulSet) { s.Spec.Replicas = new(int32(1)) })
		w.Sleep(20 * time.Second)
		w.wantLog("-db-2 -db-1")
		if n := len(client.ListOf[core.PersistentVolumeClaim](w.View(), client.Select{})); n != 3 {
			t.Errorf("%d claims after scale-down, want all retained", n)
		}
	})
}

func TestRollbackUsesTheSameRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Put(newSet(2, apps.OrderedReadyPodManagement))
		w.Sleep(10 * time.Second)
		first := w.set().Status.CurrentRevision
		w.change(image("i:2"))
		w.Sleep(20 * time.Second)
		if got := w.set().Status.CurrentRevision; got == first {
			t.Error("the revision did not change")
		}
		w.change(image("i:1"))
		w.Sleep(20 * time.Second)
		if got := w.set().Status.CurrentRevision; got != first {
			t.Errorf("got revision %s after rollback, want %s", got, first)
		}
		revs := client.ListOf[apps.ControllerRevision](w.View(), client.Select{})
		var numbers []string
		for _, r := range revs {
			numbers = append(numbers, fmt.Sprint(r.Name == first, r.Revision))
		}
		if len(revs) != 2 || !strings.Contains(fmt.Sprint(numbers), "true 3") {
			t.Errorf("revisions %v, want 2, the first with number 3", numbers)
		}
	})
}

func TestPartitionIsACanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Put(newSet(3, apps.OrderedReadyPodManagement))
		w.Sleep(10 * time.Second)
		w.change(func(s *apps.StatefulSet) {
			image("i:2")(s)
			s.Spec.UpdateStrategy.RollingUpdate.Partition = new(int32(2))
		})
		w.Sleep(20 * time.Second)
		if got := w.images(); got != "db-0=i:1 db-1=i:1 db-2=i:2" {
			t.Error(got)
		}
		w.log = nil
		// a pod below the partition comes back as it was
		if err := client.Delete[core.Pod](t.Context(), w.Client(), object.Key{Namespace: "default", Name: "db-0"}, ""); err != nil {
			t.Fatal(err)
		}
		w.Sleep(20 * time.Second)
		w.wantLog("-db-0 +db-0")
		if got := w.images(); got != "db-0=i:1 db-1=i:1 db-2=i:2" {
			t.Error(got)
		}
		if st := w.set().Status; st.CurrentReplicas != 2 || st.UpdatedReplicas != 1 || st.CurrentRevision == st.UpdateRevision {
			t.Errorf("status %+v", st)
		}
	})
}

func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["db-0"] = true
		w.Put(newSet(3, apps.ParallelPodManagement))
		w.Sleep(500 * time.Millisecond)
		if n := len(w.log); n != 3 {
			t.Errorf("%d pods at once, want 3", n)
		}
		w.Sleep(5 * time.Second)
		w.log = nil
		w.change(func(s *apps.StatefulSet) { s.Spec.Replicas = new(int32(1)) })
		w.Sleep(1500 * time.Millisecond)
		if n := len(w.log); n != 2 {
			t.Errorf("%v, want both extra pods gone at once", w.log)
		}
	})
}

func TestOnDeleteAndFailedPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := newSet(2, apps.OrderedReadyPodManagement)
		s.Spec.UpdateStrategy = apps.StatefulSetUpdateStrategy{Type: apps.OnDeleteStatefulSetStrategyType}
		w.Put(s)
		w.Sleep(10 * time.Second)
		w.log = nil
		w.change(image("i:2"))
		w.Sleep(10 * time.Second)
		w.wantLog("")
		p := object.Clone(w.pod("db-0"))
		p.Status.Phase, p.Status.Reason = core.PodFailed, "NodePorts"
		w.Put(p)
		w.Sleep(10 * time.Second)
		w.wantLog("-db-0 +db-0")
		if got := w.images(); got != "db-0=i:2 db-1=i:1" {
			t.Error(got)
		}
	})
}

func TestClaimsFollowTheRetentionPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := newSet(2, apps.OrderedReadyPodManagement)
		s.Spec.PersistentVolumeClaimRetentionPolicy = &apps.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenDeleted: apps.DeletePersistentVolumeClaimRetentionPolicyType, WhenScaled: apps.DeletePersistentVolumeClaimRetentionPolicyType,
		}
		w.Put(s)
		w.Sleep(10 * time.Second)
		owner := func(name string) string {
			c, ok := client.Lookup[core.PersistentVolumeClaim](w.View(), object.Key{Namespace: "default", Name: name})
			if !ok || len(c.OwnerReferences) != 1 {
				t.Fatalf("claim %s: %v", name, c)
			}
			return c.OwnerReferences[0].Kind
		}
		if got := owner("data-db-1"); got != "StatefulSet" {
			t.Errorf("owned by %s, want the set", got)
		}
		w.change(func(s *apps.StatefulSet) { s.Spec.Replicas = new(int32(1)) })
		w.Sleep(10 * time.Second)
		if got := owner("data-db-1"); got != "Pod" {
			t.Errorf("owned by %s after scale-down, want the pod", got)
		}
		if got := owner("data-db-0"); got != "StatefulSet" {
			t.Errorf("the other is owned by %s, want the set", got)
		}
	})
}

func TestBrokenUpdateCanBeReplacedInParallelMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Put(newSet(3, apps.ParallelPodManagement))
		w.Sleep(10 * time.Second)
		w.change(image("bad"))
		w.Sleep(10 * time.Second)
		if got := w.images(); got != "db-0=i:1 db-1=i:1 db-2=bad" {
			t.Error(got)
		}
		w.change(image("i:3"))
		w.Sleep(20 * time.Second)
		if got := w.images(); got != "db-0=i:3 db-1=i:3 db-2=i:3" {
			t.Error(got)
		}
	})
}
