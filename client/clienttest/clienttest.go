package clienttest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// limit bounds every wait.
const limit = 20 * time.Second

// Resources are what the View has to carry.
func Resources() []object.Resource {
	r := func(name, kind string, namespaced bool) object.Resource {
		return object.Resource{GroupVersionResource: core.SchemeGroupVersion.WithResource(name), Kind: kind, Namespaced: namespaced}
	}
	return []object.Resource{r("configmaps", "ConfigMap", true), r("pods", "Pod", true), r("namespaces", "Namespace", false)}
}

// suite is one run.
type suite struct {
	c  client.Client
	v  client.View
	ns string
}

// Run checks the contract of client.Client and client.View. The view is running.
func Run(t *testing.T, c client.Client, v client.View) {
	for name, test := range map[string]func(context.Context, *testing.T, suite){
		"create, get, update, delete": testWrites, "errors": testErrors, "patches": testPatches, "list": testList, "pages": testPages,
		"subresources": testSubresources, "delete collection": testDeleteCollection, "dry run": testDryRun,
		"view": testView, "view selects": testSelect, "watch": testWatch, "watch by many": testManyWatchers, "watch ends": testWatchEnds,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			ns, err := client.Create(ctx, c, &core.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "clienttest-"}})
			if err != nil {
				t.Fatal(err)
			}
			test(ctx, t, suite{c, v, ns.Name})
		})
	}
}

func (s suite) configMap(name, value string, labels ...string) *core.ConfigMap {
	cm := &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}, Data: map[string]string{"k": value}}
	if len(labels) > 0 {
		cm.Labels = map[string]string{}
		for _, l := range labels {
			cm.Labels[l] = "yes"
		}
	}
	return cm
}

func (s suite) target(name string) client.Target {
	return client.TargetOf[core.ConfigMap](object.Key{Namespace: s.ns, Name: name})
}

func (s suite) create(ctx context.Context, t *testing.T, cm *core.ConfigMap) *core.ConfigMap {
	t.Helper()
	out, err := client.Create(ctx, s.c, cm)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return out
}

func testWrites(ctx context.Context, t *testing.T, s suite) {
	made := s.create(ctx, t, s.configMap("a", "1"))
	if made.UID == "" || made.ResourceVersion == "" || made.CreationTimestamp.IsZero() || made.Data["k"] != "1" {
		t.Errorf("created %+v", made)
	}
	got, err := client.Get[core.ConfigMap](ctx, s.c, object.KeyOf(made))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(made, got); d != "" {
		t.Errorf("get (-created +got)\n%s", d)
	}
	next := object.Clone(got)
	next.Data["k"] = "2"
	updated, err := client.Update(ctx, s.c, next)
	if err != nil || updated.Data["k"] != "2" || updated.ResourceVersion == made.ResourceVersion || updated.UID != made.UID {
		t.Errorf("update: %+v, %v", updated, err)
	}
	if made.Data["k"] != "1" {
		t.Error("an update changed an object that was handed out")
	}
	if err := client.Delete[core.ConfigMap](ctx, s.c, object.KeyOf(made), made.UID); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := client.Get[core.ConfigMap](ctx, s.c, object.KeyOf(made)); !apierrors.IsNotFound(err) {
		t.Errorf("get after delete: %v", err)
	}
	gen := s.configMap("", "x")
	gen.GenerateName = "gen-"
	if out := s.create(ctx, t, gen); len(out.Name) <= len("gen-") {
		t.Errorf("generated name %q", out.Name)
	}
}

func testErrors(ctx context.Context, t *testing.T, s suite) {
	made := s.create(ctx, t, s.configMap("a", "1"))
	_, err := client.Create(ctx, s.c, s.configMap("a", "2"))
	if want := `configmaps "a" already exists`; !apierrors.IsAlreadyExists(err) || err.Error() != want {
		t.Errorf("second create: %v, want %s", err, want)
	}
	_, err = client.Get[core.ConfigMap](ctx, s.c, object.Key{Namespace: s.ns, Name: "none"})
	if want := `configmaps "none" not found`; !apierrors.IsNotFound(err) || err.Error() != want {
		t.Errorf("get: %v, want %s", err, want)
	}
	stale := object.Clone(made)
	next := object.Clone(made)
	next.Data["k"] = "2"
	if _, err = client.Update(ctx, s.c, next); err != nil {
		t.Fatal(err)
	}
	if _, err = client.Update(ctx, s.c, stale); !apierrors.IsConflict(err) {
		t.Errorf("update at an old revision: %v", err)
	}
	if err = client.Delete[core.ConfigMap](ctx, s.c, object.KeyOf(made), "another-uid"); !apierrors.IsConflict(err) {
		t.Errorf("delete of another uid: %v", err)
	}
	if err = client.Delete[core.ConfigMap](ctx, s.c, object.Key{Namespace: s.ns, Name: "none"}, ""); !apierrors.IsNotFound(err) {
		t.Errorf("delete: %v", err)
	}
	if _, err = client.Create(ctx, s.c, s.configMap("Not A Name", "1")); !apierrors.IsInvalid(err) {
		t.Errorf("create with a bad name: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err = client.Create(ended, s.c, s.configMap("late", "1")); err == nil {
		t.Error("a call whose context has ended went through")
	}
}

func testPatches(ctx context.Context, t *testing.T, s suite) {
	s.create(ctx, t, s.configMap("a", "1"))
	for _, p := range []struct {
		kind types.PatchType
		data string
		want string
	}{
		{types.MergePatchType, `{"data":{"k":"merge"}}`, "merge"},
		{types.JSONPatchType, `[{"op":"replace","path":"/data/k","value":"json"}]`, "json"},
		{types.StrategicMergePatchType, `{"data":{"k":"strategic"}}`, "strategic"},
	} {
		o, err := s.c.Patch(ctx, s.target("a"), client.Patch{Type: p.kind, Data: []byte(p.data)}, metav1.PatchOptions{})
		if err != nil || o.(*core.ConfigMap).Data["k"] != p.want {
			t.Errorf("%s: %+v, %v", p.kind, o, err)
		}
	}
	_, err := s.c.Patch(ctx, s.target("none"), client.Patch{Type: types.MergePatchType, Data: []byte(`{}`)}, metav1.PatchOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("patch of nothing: %v", err)
	}
}

func testList(ctx context.Context, t *testing.T, s suite) {
	s.create(ctx, t, s.configMap("c", "1", "red"))
	s.create(ctx, t, s.configMap("a", "1", "red"))
	last := s.create(ctx, t, s.configMap("b", "1"))
	names := func(opt metav1.ListOptions) (out []string) {
		t.Helper()
		l, err := s.c.List(ctx, s.target(""), opt)
		if err != nil {
			t.Fatal(err)
		}
		if l.ResourceVersion == "" {
			t.Error("a list without a resourceVersion")
		}
		for _, o := range l.Items {
			if cm, ok := o.(*core.ConfigMap); ok && cm.Namespace == s.ns && cm.Name != "kube-root-ca.crt" {
				out = append(out, cm.Name)
			}
		}
		return out
	}
	if d := cmp.Diff([]string{"a", "b", "c"}, names(metav1.ListOptions{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"a", "c"}, names(metav1.ListOptions{LabelSelector: "red=yes"})); d != "" {
		t.Errorf("by label (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"b"}, names(metav1.ListOptions{FieldSelector: "metadata.name=b"})); d != "" {
		t.Errorf("by field (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"a", "b", "c"}, names(metav1.ListOptions{ResourceVersion: last.ResourceVersion})); d != "" {
		t.Errorf("not older than the last write (-want +got)\n%s", d)
	}
}

func testPages(ctx context.Context, t *testing.T, s suite) {
	var want, got []string
	for i := range 7 {
		name := fmt.Sprintf("p%d", i)
		want = append(want, name)
		s.create(ctx, t, s.configMap(name, "1", "paged"))
	}
	opt := metav1.ListOptions{Limit: 3, LabelSelector: "paged=yes"}
	for range 4 {
		l, err := s.c.List(ctx, s.target(""), opt)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Items) > 3 {
			t.Errorf("a page of %d", len(l.Items))
		}
		for _, o := range l.Items {
			got = append(got, o.GetName())
		}
		if opt.Continue = l.Continue; opt.Continue == "" {
			break
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func (s suite) pod(name string) *core.Pod {
	return &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
		Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "example.com/none:1"}}, AutomountServiceAccountToken: new(bool)}}
}

// createPod makes a pod. Where an API wants the account "default" first, it is made.
func (s suite) createPod(ctx context.Context, t *testing.T, p *core.Pod) *core.Pod {
	t.Helper()
	_, err := client.Create(ctx, s.c, &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "default"}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	out, err := client.Create(ctx, s.c, p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func testSubresources(ctx context.Context, t *testing.T, s suite) {
	p := s.createPod(ctx, t, s.pod("p"))
	bind := client.TargetOf[core.Pod](object.KeyOf(p))
	bind.Sub = "binding"
	_, err := s.c.Create(ctx, bind, &core.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "p"},
		Target: core.ObjectReference{Kind: "Node", Name: "n1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("bind: %v", err)
	}
	got, err := client.Get[core.Pod](ctx, s.c, object.KeyOf(p))
	if err != nil || got.Spec.NodeName != "n1" {
		t.Fatalf("after the binding: %+v, %v", got, err)
	}
	next := object.Clone(got)
	next.Status.Phase, next.Spec.Containers[0].Image = core.PodRunning, "example.com/not/stored"
	got, err = client.UpdateStatus(ctx, s.c, next)
	if err != nil || got.Status.Phase != core.PodRunning || got.Spec.Containers[0].Image != "example.com/none:1" {
		t.Errorf("status: %+v, %v", got, err)
	}
}

func testDeleteCollection(ctx context.Context, t *testing.T, s suite) {
	s.create(ctx, t, s.configMap("a", "1", "old"))
	s.create(ctx, t, s.configMap("b", "1", "old"))
	s.create(ctx, t, s.configMap("c", "1"))
	if err := s.c.DeleteCollection(ctx, s.target(""), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "old=yes"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a": false, "b": false, "c": true} {
		if _, err := s.c.Get(ctx, s.target(name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testDryRun(ctx context.Context, t *testing.T, s suite) {
	o, err := s.c.Create(ctx, s.target(""), s.configMap("a", "1"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil || o.GetName() != "a" {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := s.c.Get(ctx, s.target("a")); !apierrors.IsNotFound(err) {
		t.Errorf("a dry run left its object: %v", err)
	}
}

// eventually waits for the view to show something. In process it does at once.
func eventually(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("the view does not show %s", what)
		case <-tick.C:
		}
	}
}

func testView(ctx context.Context, t *testing.T, s suite) {
	made := s.create(ctx, t, s.configMap("a", "1"))
	key := object.KeyOf(made)
	look := func() *core.ConfigMap {
		o, _ := client.Lookup[core.ConfigMap](s.v, key)
		return o
	}
	eventually(ctx, t, "a created object", func() bool { return look() != nil })
	if d := cmp.Diff(made, look()); d != "" {
		t.Errorf("(-created +view)\n%s", d)
	}
	next := object.Clone(made)
	next.Data["k"] = "2"
	if _, err := client.Update(ctx, s.c, next); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "an update", func() bool { return look().Data["k"] == "2" })
	if err := client.Delete[core.ConfigMap](ctx, s.c, key, ""); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "a deletion", func() bool { return look() == nil })
	unknown := client.Resource{Group: "nobody.example.com", Version: "v1", Resource: "things"}
	if o, ok := s.v.Lookup(unknown, key); ok || len(s.v.List(unknown, client.Select{})) != 0 {
		t.Errorf("an unknown resource has %v", o)
	}
	found := false
	for _, r := range s.v.Resources() {
		found = found || r.Resource == "configmaps" && r.Kind == "ConfigMap" && r.Namespaced
	}
	if !found {
		t.Errorf("Resources lacks configmaps: %v", s.v.Resources())
	}
}

func testSelect(ctx context.Context, t *testing.T, s suite) {
	owner := s.create(ctx, t, s.configMap("owner", "1"))
	owned := s.configMap("owned", "1")
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.UID}}
	s.create(ctx, t, owned)
	here := client.Select{Namespace: s.ns}
	eventually(ctx, t, "what was created", func() bool {
		_, a := client.Lookup[core.ConfigMap](s.v, object.KeyOf(owner))
		_, b := client.Lookup[core.ConfigMap](s.v, object.Key{Namespace: s.ns, Name: "owned"})
		return a && b
	})
	all := client.ListOf[core.ConfigMap](s.v, here)
	for i := 1; i < len(all); i++ {
		if all[i-1].Name >= all[i].Name {
			t.Errorf("%s before %s", all[i-1].Name, all[i].Name)
		}
	}
	for _, o := range all {
		if o.Namespace != s.ns {
			t.Errorf("%s/%s in the list of namespace %s", o.Namespace, o.Name, s.ns)
		}
	}
	if got := client.Owned[core.ConfigMap](s.v, owner); len(got) != 1 || got[0].Name != "owned" {
		t.Errorf("owned: %v", got)
	}
	p := s.pod("p")
	p.Spec.NodeName = "node-of-" + s.ns
	p = s.createPod(ctx, t, p)
	eventually(ctx, t, "a pod by its node", func() bool {
		got := client.ListOf[core.Pod](s.v, client.Select{Node: p.Spec.NodeName})
		return len(got) == 1 && got[0].Name == "p"
	})
	if got := client.ListOf[core.Pod](s.v, client.Select{Node: "another"}); len(got) != 0 {
		t.Errorf("pods of another node: %v", got)
	}
}

// watching collects the events of one namespace.
type watching struct {
	events chan client.Event
	done   chan error
}

func (s suite) watch(ctx context.Context, t *testing.T) *watching {
	ctx, cancel := context.WithCancel(ctx)
	w := &watching{events: make(chan client.Event, 10000), done: make(chan error, 1)}
	go func() {
		w.done <- s.v.Watch(ctx, object.ResourceOf[core.ConfigMap](), func(e client.Event) {
			if e.Type == client.Synced {
				w.events <- e
				return
			}
			if e.Object.GetNamespace() != s.ns || e.Object.GetName() == "kube-root-ca.crt" {
				return
			}
			// What an event tells, the view shows already, or something newer.
			_, ok := s.v.Lookup(object.ResourceOf[core.ConfigMap](), object.KeyOf(e.Object))
			if e.Type == client.Added && !ok {
				e.Type = "ADDED but not in the view, or deleted since"
			}
			w.events <- e
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-w.done; !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("watch: %v, want the error of its context", err)
		}
	})
	return w
}

// next is the next event, written "ADDED name value", with the old value where there is one.
func (w *watching) next(ctx context.Context, t *testing.T) string {
	t.Helper()
	select {
	case e := <-w.events:
		if e.Type == client.Synced {
			return "SYNCED"
		}
		text := fmt.Sprintf("%s %s %s", e.Type, e.Object.GetName(), e.Object.(*core.ConfigMap).Data["k"])
		if e.Type == client.Modified && e.Old != nil {
			text += " was " + e.Old.(*core.ConfigMap).Data["k"]
		}
		return text
	case <-ctx.Done():
		t.Fatal("no event")
		return ""
	}
}

func testWatch(ctx context.Context, t *testing.T, s suite) {
	made := s.create(ctx, t, s.configMap("a", "1"))
	eventually(ctx, t, "a created object", func() bool { _, ok := client.Lookup[core.ConfigMap](s.v, object.KeyOf(made)); return ok })
	w := s.watch(ctx, t)
	got := []string{w.next(ctx, t), w.next(ctx, t)}
	s.create(ctx, t, s.configMap("b", "1"))
	got = append(got, w.next(ctx, t))
	next := object.Clone(made)
	next.Data["k"] = "2"
	if _, err := client.Update(ctx, s.c, next); err != nil {
		t.Fatal(err)
	}
	got = append(got, w.next(ctx, t))
	if err := client.Delete[core.ConfigMap](ctx, s.c, object.KeyOf(made), ""); err != nil {
		t.Fatal(err)
	}
	got = append(got, w.next(ctx, t))
	want := []string{"ADDED a 1", "SYNCED", "ADDED b 1", "MODIFIED a 2 was 1", "DELETED a 2"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// testManyWatchers has many watchers see every change in one order.
func testManyWatchers(ctx context.Context, t *testing.T, s suite) {
	const watchers, changes = 20, 50
	var all []*watching
	for range watchers {
		w := s.watch(ctx, t)
		for w.next(ctx, t) != "SYNCED" {
		}
		all = append(all, w)
	}
	cm := s.create(ctx, t, s.configMap("a", "0"))
	for i := 1; i < changes; i++ {
		next := object.Clone(cm)
		next.Data["k"] = fmt.Sprint(i)
		var err error
		if cm, err = client.Update(ctx, s.c, next); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range all {
		for i := range changes {
			want := fmt.Sprintf("MODIFIED a %d was %d", i, i-1)
			if i == 0 {
				want = "ADDED a 0"
			}
			if got := w.next(ctx, t); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
	}
}

func testWatchEnds(ctx context.Context, t *testing.T, s suite) {
	ctx, cancel := context.WithCancel(ctx)
	err := s.v.Watch(ctx, object.ResourceOf[core.ConfigMap](), func(e client.Event) {
		if e.Type == client.Synced {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	unknown := client.Resource{Group: "nobody.example.com", Version: "v1", Resource: "things"}
	if err := s.v.Watch(t.Context(), unknown, func(client.Event) {}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("watch of a resource that the view does not carry: %v", err)
	}
}
