package ownergc

import (
	"fmt"
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

func start(t *testing.T) *controltest.API {
	a := controltest.New(t)
	a.Serve(&core.ConfigMap{}, &core.Pod{}, &apps.ReplicaSet{}, &core.Node{})
	return a
}

func collect(t *testing.T, a *controltest.API) {
	c, err := New(control.Deps{Client: a.Client(), View: a.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
}

// put stores a ConfigMap that has owners, and returns it as it is stored.
func put(t *testing.T, a *controltest.API, name string, owners ...metav1.OwnerReference) *core.ConfigMap {
	t.Helper()
	a.Put(&core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, OwnerReferences: owners}})
	return get(t, a, name)
}

func find(a *controltest.API, name string) (*core.ConfigMap, bool) {
	return client.Lookup[core.ConfigMap](a.View(), object.Key{Namespace: "default", Name: name})
}

func get(t *testing.T, a *controltest.API, name string) *core.ConfigMap {
	t.Helper()
	cm, ok := find(a, name)
	if !ok {
		t.Fatalf("%s is gone", name)
	}
	return cm
}

func ref(o object.Object, block bool) metav1.OwnerReference {
	gvk := object.KindOf(o)
	return metav1.OwnerReference{
		APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Name: o.GetName(), UID: o.GetUID(), BlockOwnerDeletion: &block,
	}
}

func drop(t *testing.T, a *controltest.API, name string, p metav1.DeletionPropagation) {
	t.Helper()
	err := a.Client().Delete(t.Context(), client.TargetOf[core.ConfigMap](object.Key{Namespace: "default", Name: name}), metav1.DeleteOptions{PropagationPolicy: &p})
	if err != nil {
		t.Fatal(err)
	}
}

func wantLeft(t *testing.T, a *controltest.API, names ...string) {
	t.Helper()
	time.Sleep(time.Minute)
	var got []string
	for _, cm := range client.ListOf[core.ConfigMap](a.View(), client.Select{}) {
		got = append(got, cm.Name)
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		t.Errorf("left are %v, want %v", got, names)
	}
}

func TestBackgroundTakesTheWholeChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		collect(t, a)
		one := put(t, a, "a")
		two := put(t, a, "b", ref(one, true))
		put(t, a, "c", ref(two, true))
		put(t, a, "other")
		drop(t, a, "a", metav1.DeletePropagationBackground)
		wantLeft(t, a, "other")
	})
}

func TestForegroundWaitsForBlockers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		collect(t, a)
		one := put(t, a, "a")
		put(t, a, "free", ref(one, false))
		held := put(t, a, "held", ref(one, true))
		held = object.Clone(held)
		held.Finalizers = []string{"test/hold"}
		a.Put(held)
		drop(t, a, "a", metav1.DeletePropagationForeground)
		wantLeft(t, a, "a", "held")
		held = object.Clone(get(t, a, "held"))
		held.Finalizers = nil
		if _, err := client.Update(t.Context(), a.Client(), held); err != nil {
			t.Fatal(err)
		}
		wantLeft(t, a)
	})
}

func TestForegroundGoesDownTheTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		collect(t, a)
		one := put(t, a, "a")
		two := put(t, a, "b", ref(one, true))
		put(t, a, "c", ref(two, true))
		drop(t, a, "a", metav1.DeletePropagationForeground)
		wantLeft(t, a)
	})
}

func TestSecondOwnerKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, p := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
			a := start(t)
			collect(t, a)
			one, two := put(t, a, "a"), put(t, a, "b")
			put(t, a, "child", ref(one, true), ref(two, true))
			drop(t, a, "a", p)
			wantLeft(t, a, "b", "child")
			if refs := get(t, a, "child").OwnerReferences; len(refs) != 1 || refs[0].Name != "b" {
				t.Errorf("%s: owners %v, want only b", p, refs)
			}
		}
	})
}

func TestOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		collect(t, a)
		one := put(t, a, "a")
		put(t, a, "child", ref(one, true))
		drop(t, a, "a", metav1.DeletePropagationOrphan)
		wantLeft(t, a, "child")
		if refs := get(t, a, "child").OwnerReferences; len(refs) != 0 {
			t.Errorf("owners %v, want none", refs)
		}
	})
}

func TestCycles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, p := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
			a := start(t)
			collect(t, a)
			one := put(t, a, "a")
			two := put(t, a, "b", ref(one, true))
			three := put(t, a, "c", ref(two, true))
			put(t, a, "a", ref(three, true))
			drop(t, a, "a", p)
			wantLeft(t, a)
		}
	})
}

func TestWhatCountsAsAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		one := put(t, a, "a")
		wrong := ref(one, true)
		wrong.UID = "another"
		put(t, a, "b-uid-differs", wrong)
		never := ref(one, true)
		never.Name, never.UID = "never", "never"
		put(t, a, "c-never-was", never)
		unknown := ref(one, true)
		unknown.Kind = "Unheard"
		put(t, a, "d-unknown-kind", unknown)
		put(t, a, "e-owned", ref(one, true))
		collect(t, a)
		wantLeft(t, a, "a", "d-unknown-kind", "e-owned")
	})
}

func TestClusterScopedOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.Put(&core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
		n, _ := client.Lookup[core.Node](a.View(), object.Key{Name: "n1"})
		put(t, a, "child", ref(n, true))
		cm := put(t, a, "cm")
		a.Put(&core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2", OwnerReferences: []metav1.OwnerReference{ref(cm, true)}}})
		collect(t, a)
		wantLeft(t, a, "child", "cm")
		if _, ok := client.Lookup[core.Node](a.View(), object.Key{Name: "n2"}); !ok {
			t.Error("a cluster-scoped object was deleted for a namespaced owner")
		}
		a.Remove(n)
		wantLeft(t, a, "cm")
	})
}

func TestManyDependents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		collect(t, a)
		one := put(t, a, "a")
		for i := range 500 {
			put(t, a, fmt.Sprintf("child-%d", i), ref(one, true))
		}
		drop(t, a, "a", metav1.DeletePropagationForeground)
		wantLeft(t, a)
	})
}
