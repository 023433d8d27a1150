package namespace

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

var key = object.Key{Name: "shop"}

func start(t *testing.T) *controltest.API {
	a := controltest.New(t)
	a.Serve(&core.ConfigMap{}, &core.Pod{}, &core.Namespace{}, &core.Node{})
	c, err := New(control.Deps{Client: a.Client(), View: a.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	a.Put(&core.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec:       core.NamespaceSpec{Finalizers: []core.FinalizerName{core.FinalizerKubernetes}},
		Status:     core.NamespaceStatus{Phase: core.NamespaceActive},
	})
	for i := range 20 {
		a.Put(&core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("c-%d", i)}})
	}
	a.Put(&core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "stays"}})
	return a
}

func remove(t *testing.T, a *controltest.API) {
	t.Helper()
	if err := client.Delete[core.Namespace](t.Context(), a.Client(), key, ""); err != nil {
		t.Fatal(err)
	}
}

func condition(t *testing.T, a *controltest.API, typ core.NamespaceConditionType) core.NamespaceCondition {
	t.Helper()
	ns, ok := client.Lookup[core.Namespace](a.View(), key)
	if !ok {
		t.Fatal("the namespace is gone")
	}
	for _, c := range ns.Status.Conditions {
		if c.Type == typ {
			return c
		}
	}
	t.Fatalf("no condition %s in %v", typ, ns.Status.Conditions)
	return core.NamespaceCondition{}
}

func TestAllContentGoesAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		remove(t, a)
		time.Sleep(100 * time.Millisecond)
		if _, ok := client.Lookup[core.Namespace](a.View(), key); ok {
			t.Error("the namespace is still there")
		}
		if left := client.ListOf[core.ConfigMap](a.View(), client.Select{}); len(left) != 1 || left[0].Namespace != "other" {
			t.Errorf("%d ConfigMaps are left, want the one of another namespace", len(left))
		}
	})
}

func TestPodsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", Finalizers: []string{"test/hold"}}}
		a.Put(p)
		remove(t, a)
		time.Sleep(10 * time.Second)
		if n := len(client.ListOf[core.ConfigMap](a.View(), client.Select{Namespace: "shop"})); n != 20 {
			t.Errorf("%d ConfigMaps while a pod is there, want 20", n)
		}
		condition(t, a, core.NamespaceDeletionContentFailure)
		c := condition(t, a, core.NamespaceFinalizersRemaining)
		if want := "Some content in the namespace has finalizers remaining: test/hold in 1 resource instances"; c.Message != want {
			t.Errorf("got %q, want %q", c.Message, want)
		}
		a.Remove(p)
		time.Sleep(time.Second)
		if _, ok := client.Lookup[core.Namespace](a.View(), key); ok {
			t.Error("the namespace is still there")
		}
	})
}

func TestRefusalShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.Refuse(func(verb string, tg client.Target, _ object.Object) error {
			if verb == "delete" && tg.Resource.Resource == "configmaps" {
				return apierrors.NewForbidden(tg.GroupResource(), tg.Name, fmt.Errorf("no"))
			}
			return nil
		})
		remove(t, a)
		time.Sleep(time.Second)
		if c := condition(t, a, core.NamespaceDeletionContentFailure); c.Status != core.ConditionTrue || c.Reason != "ContentDeletionFailed" {
			t.Errorf("got %+v, want ContentDeletionFailed", c)
		}
		a.Refuse(nil)
		time.Sleep(time.Minute)
		if _, ok := client.Lookup[core.Namespace](a.View(), key); ok {
			t.Error("the namespace is still there after deletes are allowed again")
		}
	})
}

// While a server cannot be asked what it serves, nobody knows whether the namespace is empty.
func TestStaysWhileResourcesAreUnknown(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ns := &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", DeletionTimestamp: new(metav1.NewTime(at))}}
	ns.Spec.Finalizers = []core.FinalizerName{core.FinalizerKubernetes}
	changes, again := plan(ns, found{unknown: []schema.GroupVersion{{Group: "toys.example.com", Version: "v1"}}}, nil, at)
	if len(changes) != 1 || changes[0].Op != control.Status || again == control.Done {
		t.Fatalf("changes %v, again %v; want a status, and to look again", changes, again)
	}
	const want = "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: " +
		"toys.example.com/v1: stale GroupVersion discovery: toys.example.com/v1"
	c := changes[0].Object.(*core.Namespace).Status.Conditions[0]
	if c.Type != core.NamespaceDeletionDiscoveryFailure || c.Status != core.ConditionTrue || c.Message != want {
		t.Errorf("got %+v, want %q", c, want)
	}
	if changes, _ = plan(ns, found{}, nil, at); len(changes) != 1 || changes[0].Sub != "finalize" {
		t.Errorf("changes %v, want that it goes", changes)
	}
}
