package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/apiserver/codec"
	"proa.dev/apiserver/owners"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
	"proa.dev/store"
	"proa.dev/store/etcd"
)

var (
	configMaps = kinds.Def[core.ConfigMap, *core.ConfigMap]{Path: "v1/configmaps", Fields: func(o *core.ConfigMap) map[string]string {
		return map[string]string{"data.k": o.Data["k"]}
	}}.Kind()
	pods = kinds.Def[core.Pod, *core.Pod]{Path: "v1/pods"}.Kind()
)

type world struct {
	*Cache
	t     *testing.T
	store store.Store
	shelf *Shelf
}

// newWorld is a running cache on embedded etcd.
func newWorld(t *testing.T, seed func(store.Store)) *world {
	t.Helper()
	st, err := etcd.New(etcd.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	stop := runIn(t, st.Run)
	t.Cleanup(stop)
	if seed != nil {
		seed(st)
	}
	c := New(Deps{Store: st, Kinds: []*kinds.Kind{configMaps, pods}, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(runIn(t, c.Run))
	<-c.Ready()
	return &world{c, t, st, c.Shelf(configMaps.GroupVersionResource)}
}

func runIn(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func newMap(ns, name string, l map[string]string, k string) *core.ConfigMap {
	o := &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: l}, Data: map[string]string{"k": k}}
	o.SetGroupVersionKind(configMaps.GVK())
	return o
}

// write stores o, whatever is there.
func (w *world) write(o *core.ConfigMap) *Item {
	w.t.Helper()
	was := store.Absent
	if it, ok := w.shelf.Get(object.KeyOf(o)); ok {
		was = it.Rev
	}
	it, err := w.Write(w.t.Context(), w.shelf, object.KeyOf(o), o, was)
	if err != nil {
		w.t.Fatal(err)
	}
	return it
}

func (w *world) remove(ns, name string) *Item {
	w.t.Helper()
	key := object.Key{Namespace: ns, Name: name}
	it, _ := w.shelf.Get(key)
	gone, err := w.Remove(w.t.Context(), w.shelf, key, it.Rev)
	if err != nil {
		w.t.Fatal(err)
	}
	return gone
}

func TestAWriteIsSeenWhenItReturnsAndNotDecodedAgain(t *testing.T) {
	w := newWorld(t, nil)
	o := newMap("ns", "a", nil, "1")
	it := w.write(o)
	got, ok := client.Lookup[core.ConfigMap](w.View(), object.Key{Namespace: "ns", Name: "a"})
	if !ok || got != o || it.Object != object.Object(o) {
		t.Errorf("the view has %p, the item %p, want the writer's own %p", got, it.Object, o)
	}
	if got.ResourceVersion != fmt.Sprint(it.Rev) || w.Rev() < 1 {
		t.Errorf("version %s, revision %d", got.ResourceVersion, it.Rev)
	}
	_, err := w.Write(t.Context(), w.shelf, it.Key, newMap("ns", "a", nil, "2"), it.Rev+100)
	if c, lost := ErrConflict(err); !lost || c.Current.Rev != it.Rev {
		t.Errorf("a stale write: %v", err)
	}
	if len(w.pending) != 0 {
		t.Errorf("%d writes are still pending", len(w.pending))
	}
}

func TestWritesOfOthersAreDecoded(t *testing.T) {
	value := func(k string) []byte {
		b, err := codec.Store(newMap("ns", "a", nil, k))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const key = "/registry/configmaps/ns/a"
	w := newWorld(t, func(s store.Store) {
		for key, v := range map[string][]byte{key: value("1"), "/registry/unknown/x/y": []byte("?"), "/registry/configmaps/ns/broken": []byte("k8s\x00?"), "/other": []byte("x")} {
			if _, err := s.Apply(t.Context(), store.Write{Key: key, Value: v}); err != nil {
				t.Fatal(err)
			}
		}
	})
	it, ok := w.shelf.Get(object.Key{Namespace: "ns", Name: "a"})
	if !ok || it.Object.(*core.ConfigMap).Data["k"] != "1" || w.shelf.Len() != 1 {
		t.Fatalf("loaded: %v", it)
	}
	rev, err := w.store.Apply(t.Context(), store.Write{Key: key, If: it.Rev, Value: value("2")})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if it, _ = w.shelf.Get(it.Key); it.Rev != rev || it.Object.(*core.ConfigMap).Data["k"] != "2" {
		t.Errorf("after a write by another: %+v", it.Object)
	}
}

func TestOrderIsTheStores(t *testing.T) {
	var keys []object.Key
	for _, ns := range []string{"a", "a-b", "a.b", "a0", "ab", "b"} {
		for _, name := range []string{"x", "x-y", "x.y"} {
			keys = append(keys, object.Key{Namespace: ns, Name: name})
		}
	}
	for _, a := range keys {
		for _, b := range keys {
			if got, want := less(a, b), a.String() < b.String(); got != want {
				t.Errorf("less(%s, %s) = %v", a, b, got)
			}
		}
	}
}

func (w *world) names(ns string) (out []string) {
	w.Snapshot(w.shelf, ns).Walk(ns, object.Key{}, func(it *Item) bool { out = append(out, it.Key.String()); return true })
	return out
}

func TestListsAndIndexes(t *testing.T) {
	w := newWorld(t, nil)
	for _, k := range []string{"b/1", "a/2", "a/1", "a-b/1", "c/1"} {
		key := object.ParseKey(k)
		o := newMap(key.Namespace, key.Name, nil, "")
		if k == "a/2" || k == "c/1" {
			o.OwnerReferences = []metav1.OwnerReference{{UID: "u"}}
		}
		w.write(o)
	}
	if got := strings.Join(w.names(""), " "); got != "a-b/1 a/1 a/2 b/1 c/1" {
		t.Errorf("all: %s", got)
	}
	if got := strings.Join(w.names("a"), " "); got != "a/1 a/2" || w.Snapshot(w.shelf, "a").Count() != 2 {
		t.Errorf("a: %s", got)
	}
	before := w.Snapshot(w.shelf, "")
	w.remove("a", "1")
	n := 0
	before.Walk("", object.Key{}, func(*Item) bool { n++; return true })
	if n != 5 || w.shelf.Len() != 4 {
		t.Errorf("a snapshot changed: %d", n)
	}
	owned := w.shelf.Select(client.Select{Owner: "u"})
	if len(owned) != 2 || owned[0].Key.String() != "a/2" {
		t.Errorf("owned: %v", owned)
	}
	if got := w.shelf.Select(client.Select{Owner: "u", Namespace: "c"}); len(got) != 1 {
		t.Errorf("owned in c: %v", got)
	}
	w.write(newMap("c", "1", nil, "no owner any more"))
	if got := w.shelf.Select(client.Select{Owner: "u"}); len(got) != 1 {
		t.Errorf("after the owner has changed: %v", got)
	}
	ps := w.Shelf(pods.GroupVersionResource)
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Spec: core.PodSpec{NodeName: "n"}}
	p.SetGroupVersionKind(pods.GVK())
	if _, err := w.Write(t.Context(), ps, object.KeyOf(p), p, store.Absent); err != nil {
		t.Fatal(err)
	}
	if got := client.ListOf[core.Pod](w.View(), client.Select{Node: "n"}); len(got) != 1 {
		t.Errorf("pods on n: %v", got)
	}
}

// take is everything a watcher has to tell, until it has seen rev.
func take(t *testing.T, w *Watcher, rev int64) (out []string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case <-w.Bell():
		case <-deadline:
			t.Fatalf("the watcher did not reach %d: %v", rev, out)
		}
		events, upTo := w.Take(nil, 1000)
		for _, e := range events {
			out = append(out, fmt.Sprintf("%s %s@%s", e.Type, e.Item.Key.Name, e.Item.Object.GetResourceVersion()))
		}
		if len(out) > 0 && (upTo >= rev || events[len(events)-1].Item.Rev >= rev) {
			return out
		}
	}
}

func TestSelectionsAreEnteredAndLeft(t *testing.T) {
	w := newWorld(t, nil)
	yes, no := map[string]string{"s": "y"}, map[string]string{"s": "n"}
	byLabel, initial, at, err := w.WatchNow(w.shelf, Selection{Labels: labels.SelectorFromSet(yes)})
	if err != nil {
		t.Fatal(err)
	}
	byField, _, _, _ := w.WatchNow(w.shelf, Selection{Namespace: "ns", Fields: fields.OneTermEqualSelector("data.k", "1")})
	if len(initial) != 0 || at == 0 {
		t.Errorf("initial: %v at %d", initial, at)
	}
	a := w.write(newMap("ns", "a", yes, "1")).Rev
	b := w.write(newMap("ns", "a", no, "1")).Rev
	c := w.write(newMap("ns", "a", yes, "2")).Rev
	d := w.write(newMap("ns", "a", yes, "3")).Rev
	e := w.remove("ns", "a").Rev
	want := []string{fmt.Sprint("ADDED a@", a), fmt.Sprint("DELETED a@", b), fmt.Sprint("ADDED a@", c), fmt.Sprint("MODIFIED a@", d), fmt.Sprint("DELETED a@", e)}
	if got := take(t, byLabel, e); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	want = []string{fmt.Sprint("ADDED a@", a), fmt.Sprint("MODIFIED a@", b), fmt.Sprint("DELETED a@", c)}
	if got := take(t, byField, c); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	from, err := w.WatchFrom(w.shelf, Selection{}, b)
	if err != nil {
		t.Fatal(err)
	}
	if got := take(t, from, e); len(got) != 3 || !strings.HasPrefix(got[0], "MODIFIED") {
		t.Errorf("from %d: %v", b, got)
	}
	for _, w := range []*Watcher{byLabel, byField, from} {
		w.Close()
	}
	if n := w.shelf.Watchers(); n != 0 {
		t.Errorf("%d watchers are left", n)
	}
}

// One transaction of another client of the store can change many keys at one revision.
func TestChangesOfOneRevision(t *testing.T) {
	c := &Cache{}
	s := newShelf(configMaps, &Keeper{}, owners.NewShares())
	w := s.open(c, Selection{}, s.log.last, 0, false)
	for _, name := range []string{"a", "b", "c"} {
		o := newMap("ns", name, nil, "")
		s.put(&Item{Key: object.KeyOf(o), Rev: 7, Object: o, kind: configMaps}, time.Now())
	}
	if events, upTo := w.Take(nil, 10); len(events) != 3 || upTo != 7 {
		t.Errorf("%d events up to %d, want 3 up to 7", len(events), upTo)
	}
}

func TestTheLogForgets(t *testing.T) {
	l := newLog(10)
	now := time.Now()
	for i := range int64(leastEvents + 50) {
		l.add(Change{Rev: 11 + i, Item: &Item{}}, now)
	}
	if l.since != 10 {
		t.Errorf("fresh events were forgotten: since %d", l.since)
	}
	l.add(Change{Rev: 1000, Item: &Item{}}, now.Add(2*freshFor))
	if l.since != 61 || l.last.seq-l.first.seq != leastEvents {
		t.Errorf("since %d with %d events, want 61 with %d", l.since, l.last.seq-l.first.seq, leastEvents)
	}
	if first := l.first.next.Load(); first.Rev != 62 {
		t.Errorf("the first event is %d", first.Rev)
	}
	for i := range int64(mostEvents + 100) {
		l.add(Change{Rev: 2000 + i, Item: &Item{}}, now)
	}
	if n := l.last.seq - l.first.seq; n > mostEvents {
		t.Errorf("%d events are kept", n)
	}
}

func TestTooOldARevision(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.WatchFrom(w.shelf, Selection{}, 0)
	if err == nil || !strings.HasPrefix(err.Error(), "too old resource version: 0 (") {
		t.Errorf("got %v", err)
	}
}

func TestASlowWatcherIsCutOff(t *testing.T) {
	s := newShelf(configMaps, &Keeper{}, owners.NewShares())
	c := &Cache{}
	w := s.open(c, Selection{}, s.log.last, 0, false)
	inside := s.open(c, Selection{}, s.log.last, 0, true)
	cut := false
	w.OnCut(func() { cut = true })
	now := time.Now()
	for i := range int64(maxLag + 2) {
		o := newMap("ns", "a", nil, "")
		s.put(&Item{Key: object.KeyOf(o), Rev: i + 1, Object: o, kind: configMaps}, now)
	}
	select {
	case <-w.Cut():
	default:
		t.Error("the slow watcher is still there")
	}
	select {
	case <-inside.Cut():
		t.Error("a reader in the process was cut off")
	default:
	}
	if !cut {
		t.Error("OnCut was not called")
	}
}

func TestViewWatch(t *testing.T) {
	w := newWorld(t, nil)
	w.write(newMap("ns", "a", nil, "1"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		done <- client.Watch(ctx, w.View(), func(e client.EventType, now, old *core.ConfigMap) {
			if e == client.Synced {
				heard <- "SYNCED"
				return
			}
			was := ""
			if old != nil {
				was = " was " + old.Data["k"]
			}
			heard <- fmt.Sprintf("%s %s=%s%s", e, now.Name, now.Data["k"], was)
			if _, ok := client.Lookup[core.ConfigMap](w.View(), object.KeyOf(now)); ok == (e == client.Deleted) {
				t.Errorf("the view does not show %s", e)
			}
		})
	}()
	want := func(text string) {
		t.Helper()
		select {
		case got := <-heard:
			if got != text {
				t.Errorf("heard %q, want %q", got, text)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("nothing heard, want %q", text)
		}
	}
	want("ADDED a=1")
	want("SYNCED")
	w.write(newMap("ns", "a", nil, "2"))
	want("MODIFIED a=2 was 1")
	w.remove("ns", "a")
	want("DELETED a=2 was 2")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
	if err := w.View().Watch(t.Context(), client.Resource{Resource: "nothings"}, nil); err == nil {
		t.Error("a resource that the view does not carry can be watched")
	}
}

func TestWaitForTheFuture(t *testing.T) {
	w := newWorld(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.WaitFor(ctx, w.Rev()+1000); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestVerifyFindsAReaderThatWrites(t *testing.T) {
	o := newMap("ns", "a", nil, "1")
	it := &Item{Key: object.KeyOf(o), Rev: 1, Object: o, kind: configMaps}
	it.prove()
	it.verify()
	o.Data["k"] = "2"
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "frozen ConfigMap ns/a was changed by a reader") {
			t.Errorf("verify said %v", p)
		}
	}()
	it.verify()
}

func TestKeeperDropsTheOldest(t *testing.T) {
	k := &Keeper{}
	var items []*Item
	for i := range 40 {
		o := newMap("ns", fmt.Sprint(i), nil, strings.Repeat("x", 1<<20))
		it := &Item{Key: object.KeyOf(o), Rev: 1, Object: o, kind: configMaps}
		if _, err := it.Encoded(codec.JSON, k); err != nil {
			t.Fatal(err)
		}
		items = append(items, it)
	}
	if items[0].encoded[codec.JSON].Load() != nil || items[39].encoded[codec.JSON].Load() == nil || k.bytes > keptBytes {
		t.Errorf("%d bytes are kept", k.bytes)
	}
	if e, err := items[0].Encoded(codec.JSON, nil); err != nil || len(e.Bytes) < 1<<20 {
		t.Errorf("encoded again: %d bytes, %v", len(e.Bytes), err)
	}
}

func FuzzOrder(f *testing.F) {
	f.Add("a", "x", "a-b", "y")
	f.Fuzz(func(t *testing.T, ns1, n1, ns2, n2 string) {
		if strings.Contains(ns1+ns2, "/") || ns1 == "" || ns2 == "" {
			t.Skip()
		}
		a, b := object.Key{Namespace: ns1, Name: n1}, object.Key{Namespace: ns2, Name: n2}
		if got, want := less(a, b), a.String() < b.String(); got != want {
			t.Errorf("less(%q, %q) = %v", a, b, got)
		}
	})
}

// A watcher that opens while something happens is open, whoever rings its bell first.
func TestWatchersOpenWhileMuchHappens(t *testing.T) {
	w := newWorld(t, nil)
	other, _, _, err := w.WatchNow(w.shelf, Selection{}) // without any, nobody is told
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var ringing sync.WaitGroup
	for range 4 {
		ringing.Go(func() {
			for ctx.Err() == nil {
				w.shelf.ring(&Change{}, true)
			}
		})
	}
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		for range 20_000 {
			one := w.shelf.open(w.Cache, Selection{}, w.shelf.log.last, 0, true)
			one.Close()
		}
	}()
	select {
	case <-opened:
	case <-time.After(time.Minute):
		t.Error("a watcher is not open after a minute")
	}
	cancel()
	ringing.Wait()
}
