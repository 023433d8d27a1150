package control_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func creates(n int) []control.Change {
	var out []control.Change
	for i := range n {
		out = append(out, control.Change{Op: control.Create, Object: configMap(fmt.Sprintf("c-%03d", i))})
	}
	return out
}

func TestBatchesStopAtTheFirstRefusal(t *testing.T) {
	a := controltest.New(t)
	refused := 0
	a.Refuse(func(_ string, tg client.Target, o object.Object) error {
		if len(client.ListOf[core.ConfigMap](a.View(), client.Select{})) >= 1 {
			refused++ // Refuse asks one at a time
			return apierrors.NewForbidden(tg.GroupResource(), o.GetName(), errors.New("quota"))
		}
		return nil
	})
	err := control.Apply(t.Context(), a.Client(), nil, creates(100))
	if !apierrors.IsForbidden(err) && !strings.Contains(err.Error(), "quota") {
		t.Errorf("got %v, want forbidden", err)
	}
	if n := len(a.Writes()); n > 5 {
		t.Errorf("%d writes although the second batch was refused", n)
	}
}

func TestOrderBetweenKindsIsKept(t *testing.T) {
	a := controltest.New(t)
	changes := append(creates(3), control.Change{Op: control.Create, Object: &core.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}})
	if err := control.Apply(t.Context(), a.Client(), nil, changes); err != nil {
		t.Fatal(err)
	}
	w := a.Writes()
	if w[len(w)-1] != "create secrets default/s" {
		t.Errorf("writes %v, want the secret last", w)
	}
}

func TestWhatCountsAsDone(t *testing.T) {
	a := controltest.New(t)
	a.Put(&core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", DeletionTimestamp: new(metav1.Now()), Finalizers: []string{"x"}}})
	gone := configMap("gone")
	gone.UID = "u"
	for _, ch := range []control.Change{
		{Op: control.Create, Object: configMap("in-a-namespace-that-goes")},
		{Op: control.Delete, Object: gone},
		{Op: control.Patch, Object: gone, Patch: control.MergePatch(map[string]any{})},
	} {
		if err := control.Apply(t.Context(), a.Client(), nil, []control.Change{ch}); err != nil {
			t.Errorf("%s: %v", ch.Op, err)
		}
	}
	if err := control.Apply(t.Context(), a.Client(), nil, []control.Change{{Op: control.Update, Object: gone}}); !apierrors.IsNotFound(err) {
		t.Errorf("update of what is gone: %v", err)
	}
}

func TestDeleteMeansThatObject(t *testing.T) {
	a := controltest.New(t)
	a.Put(configMap("c"))
	old := configMap("c")
	old.UID = "of an earlier one"
	if err := control.Apply(t.Context(), a.Client(), nil, []control.Change{{Op: control.Delete, Object: old}}); !apierrors.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	now, _ := client.Lookup[core.ConfigMap](a.View(), object.Key{Namespace: "default", Name: "c"})
	stale := object.Clone(now)
	stale.ResourceVersion = "1000"
	if err := control.Apply(t.Context(), a.Client(), nil, []control.Change{{Op: control.Delete, Object: stale, SameVersion: true}}); !apierrors.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	if err := control.Apply(t.Context(), a.Client(), nil, []control.Change{{Op: control.Delete, Object: stale}}); err != nil {
		t.Error(err)
	}
}

func TestClaim(t *testing.T) {
	owner := configMap("owner")
	owner.UID = "o"
	mk := func(name string, match bool, controller string) *core.ConfigMap {
		c := configMap(name)
		c.Labels = map[string]string{"app": fmt.Sprint(match)}
		if controller != "" {
			c.OwnerReferences = []metav1.OwnerReference{{Kind: "ConfigMap", Name: "x", UID: "bystander"}, {Kind: "ConfigMap", Name: "x", UID: "o", Controller: new(true)}}
			c.OwnerReferences[1].UID = map[string]metav1.Object{"mine": owner}[controller].GetUID()
		}
		return c
	}
	other := mk("other", true, "mine")
	other.OwnerReferences[1].UID = "someone else"
	got := control.Claim(owner, labels.SelectorFromSet(labels.Set{"app": "true"}), []*core.ConfigMap{
		mk("keep", true, "mine"), mk("release", false, "mine"), mk("adopt", true, ""), mk("ignore", false, ""), other,
	})
	if len(got.Mine) != 1 || got.Mine[0].Name != "keep" {
		t.Errorf("mine: %v", got.Mine)
	}
	var patches []string
	for _, ch := range got.Changes {
		patches = append(patches, ch.Object.GetName()+" "+string(ch.Patch.Data))
	}
	want := []string{
		`release {"metadata":{"uid":"","ownerReferences":[{"apiVersion":"","kind":"ConfigMap","name":"x","uid":"bystander"}]}}`,
		`adopt {"metadata":{"uid":"","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"o","controller":true,"blockOwnerDeletion":true}]}}`,
	}
	if strings.Join(patches, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(patches, "\n"), strings.Join(want, "\n"))
	}
	owner.DeletionTimestamp = new(metav1.Now())
	if got := control.Claim(owner, labels.Everything(), []*core.ConfigMap{mk("adopt", true, "")}); len(got.Changes) != 0 {
		t.Error("an owner that is being deleted adopts")
	}
}

func TestIndexes(t *testing.T) {
	a := controltest.New(t)
	var x control.LabelIndex[core.ConfigMap, *core.ConfigMap]
	put := func(name string, l map[string]string) {
		old, _ := client.Lookup[core.ConfigMap](a.View(), object.Key{Namespace: "default", Name: name})
		c := configMap(name)
		c.Labels = l
		a.Put(c)
		now, _ := client.Lookup[core.ConfigMap](a.View(), object.Key{Namespace: "default", Name: name})
		e := client.Event{Type: client.Added, Object: now}
		if old != nil {
			e.Type, e.Old = client.Modified, old
		}
		x.Keep(e)
	}
	find := func(sel map[string]string) int { return len(x.Find(a.View(), "default", sel)) }
	put("a", map[string]string{"app": "web", "tier": "1"})
	put("b", map[string]string{"app": "web", "tier": "2"})
	if n, m := find(map[string]string{"app": "web"}), find(map[string]string{"app": "web", "tier": "2"}); n != 2 || m != 1 {
		t.Errorf("found %d and %d, want 2 and 1", n, m)
	}
	put("b", map[string]string{"app": "db"})
	if n, m := find(map[string]string{"app": "web"}), find(nil); n != 1 || m != 0 {
		t.Errorf("after a change: found %d and %d, want 1 and 0", n, m)
	}
	var s control.SelectorIndex
	key := object.Key{Namespace: "default", Name: "svc"}
	s.Set(key, map[string]string{"app": "web", "tier": "1"}, nil)
	hits := func(l map[string]string) (n int) {
		s.Selecting("default", l, func(object.Key) { n++ })
		return n
	}
	if hits(map[string]string{"app": "web", "tier": "1", "x": "y"}) != 1 || hits(map[string]string{"app": "web"}) != 0 {
		t.Error("selectors are not found as they should")
	}
	s.Set(key, nil, map[string]string{"app": "web", "tier": "1"})
	if hits(map[string]string{"app": "web", "tier": "1"}) != 0 {
		t.Error("a selector that was taken out is found")
	}
}

func TestLazyAndPace(t *testing.T) {
	var l control.Lazy
	var p = control.Pace{Interval: time.Second}
	key, now := object.Key{Name: "k"}, controltest.Start
	if hold, again := l.Hold(key, now); !hold || again != control.Again(control.StatusDelay) {
		t.Errorf("first: %v %v", hold, again)
	}
	if hold, _ := l.Hold(key, now.Add(control.StatusDelay-1)); !hold {
		t.Error("let go too early")
	}
	if hold, _ := l.Hold(key, now.Add(control.StatusDelay)); hold {
		t.Error("held too long")
	}
	if p.Wait(key, now) != control.Done {
		t.Error("the first write has to wait")
	}
	p.Note(key, now)
	if got := p.Wait(key, now.Add(time.Second/4)); got != control.Again(3*time.Second/4) {
		t.Errorf("second write waits %v", time.Duration(got))
	}
	if p.Wait(key, now.Add(time.Second)) != control.Done {
		t.Error("waits after the interval")
	}
}
