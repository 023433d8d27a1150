package resourcequota

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/kinds/core/quota"
	"proa.dev/object"
)

func list(of ...string) core.ResourceList {
	out := core.ResourceList{}
	for i := 0; i < len(of); i += 2 {
		out[core.ResourceName(of[i])] = resource.MustParse(of[i+1])
	}
	return out
}

func pod(name string, change func(*core.Pod)) *core.Pod {
	p := &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "i",
			Resources: core.ResourceRequirements{Requests: list("cpu", "100m"), Limits: list("cpu", "200m")}}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

var key = object.Key{Namespace: "default", Name: "q"}

func start(t *testing.T, hard core.ResourceList) *controltest.API {
	a := controltest.New(t)
	a.Serve(&core.ResourceQuota{}, &core.Pod{}, &core.Secret{}, &core.ConfigMap{}, &core.Node{})
	c, err := New(control.Deps{Client: a.Client(), View: a.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	a.Put(pod("one", nil), pod("two", nil), &core.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}})
	a.Put(&core.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: core.ResourceQuotaSpec{Hard: hard}})
	time.Sleep(time.Second)
	return a
}

func check(t *testing.T, a *controltest.API, when string, want core.ResourceList) {
	t.Helper()
	q, ok := client.Lookup[core.ResourceQuota](a.View(), key)
	if !ok || !quota.Equal(q.Status.Used, want) {
		t.Errorf("%s: used says %s, want %s", when, quota.Text(q.Status.Used), quota.Text(want))
	}
}

func TestCountsWhatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, list("pods", "5", "requests.cpu", "1", "limits.cpu", "2", "count/secrets", "3", "example.com/unknown", "1"))
		check(t, a, "new quota", list("pods", "2", "requests.cpu", "200m", "limits.cpu", "400m", "count/secrets", "1"))
		a.Remove(pod("one", nil))
		time.Sleep(time.Second)
		check(t, a, "a pod has gone", list("pods", "1", "requests.cpu", "100m", "limits.cpu", "200m", "count/secrets", "1"))
		a.Put(pod("two", func(p *core.Pod) { p.Status.Phase = core.PodSucceeded }))
		time.Sleep(time.Second)
		check(t, a, "the other has ended", list("pods", "0", "requests.cpu", "0", "limits.cpu", "0", "count/secrets", "1"))
		a.Writes()
		time.Sleep(time.Hour)
		if w := a.Writes(); len(w) != 0 {
			t.Errorf("at rest it wrote %v", w)
		}
	})
}

// While admission adds to a status, what it has added for objects that are not stored yet stays.
func TestDoesNotTakeBackWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, list("pods", "9"))
		time.Sleep(10 * time.Second)
		for i := range 5 { // admitted, stored later
			q, _ := client.Lookup[core.ResourceQuota](a.View(), key)
			q = object.Clone(q)
			q.Status.Used = list("pods", fmt.Sprint(3+i))
			a.Put(q)
			time.Sleep(500 * time.Millisecond)
		}
		a.Remove(pod("one", nil))
		time.Sleep(500 * time.Millisecond)
		check(t, a, "one of two is gone, five come", list("pods", "6"))
		time.Sleep(5 * time.Second)
		check(t, a, "none has come", list("pods", "1"))
	})
}

func TestALimitMoreOrLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, list("pods", "9"))
		q, _ := client.Lookup[core.ResourceQuota](a.View(), key)
		q = object.Clone(q)
		q.Spec.Hard = list("count/secrets", "1")
		a.Put(q)
		time.Sleep(time.Second)
		check(t, a, "another limit", list("count/secrets", "1"))
		a.Put(&core.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s2"}})
		time.Sleep(5 * time.Second)
		check(t, a, "a secret that nobody admitted", list("count/secrets", "2"))
	})
}

// A pod whose time is over but that is still there, for its node is lost, counts as an object only.
func TestLapsedPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, list("pods", "5", "count/pods", "5"))
		end := metav1.NewTime(time.Now().Add(30 * time.Second))
		a.Put(pod("two", func(p *core.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds, p.Finalizers = &end, new(int64), []string{"example.com/stay"}
			*p.DeletionGracePeriodSeconds = 30
		}))
		time.Sleep(10 * time.Second)
		check(t, a, "it is ending", list("pods", "2", "count/pods", "2"))
		time.Sleep(60 * time.Second)
		check(t, a, "it should have ended", list("pods", "1", "count/pods", "2"))
	})
}
