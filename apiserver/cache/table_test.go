package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/apiserver/codec"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
	"proa.dev/store"
)

var gadgets = kinds.Def[core.ConfigMap, *core.ConfigMap]{Path: "example.com/v1/gadgets", Storage: "example.com/gadgets"}.Kind()

func gadget(name, k string) *core.ConfigMap {
	o := newMap("ns", name, nil, k)
	o.SetGroupVersionKind(gadgets.GVK())
	return o
}

// TestOpenMissesNothing opens and replaces a shelf while others write: the objects that a watcher has been told of are in the end those
// that are stored.
func TestOpenMissesNothing(t *testing.T) {
	w := newWorld(t, nil)
	encoded := func(i int) []byte {
		e, err := codec.Store(gadget(fmt.Sprint("g", i%50), fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	var wg sync.WaitGroup
	for n := range 2 {
		wg.Go(func() { // as another server would
			for i := n * 1000; i < n*1000+300; i++ {
				key := fmt.Sprintf("/registry/example.com/gadgets/ns/g%d", i%50)
				write := store.Write{Key: key, If: store.Absent, Value: encoded(i)}
				kv, err := w.store.Get(t.Context(), key)
				if err == nil {
					write.If, write.Delete = kv.Rev, i%3 == 0
				} else if !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
					return
				}
				if write.Delete {
					write.Value = nil
				}
				if _, err := w.store.Apply(t.Context(), write); err != nil {
					if _, lost := ErrConflict(err); !lost {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	told := map[string]string{}
	var mu sync.Mutex // guards told
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var watch sync.WaitGroup
	for i := range 20 {
		if _, err := w.Open(t.Context(), gadgets, gadgets.GroupVersionResource); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			watch.Go(func() {
				_ = client.View(w.View()).Watch(ctx, gadgets.GroupVersionResource, func(e client.Event) {
					mu.Lock()
					defer mu.Unlock()
					switch e.Type {
					case client.Added, client.Modified:
						told[e.Object.GetName()] = e.Object.(*core.ConfigMap).Data["k"]
					case client.Deleted:
						delete(told, e.Object.GetName())
					}
				})
			})
		}
	}
	wg.Wait()
	want := map[string]string{}
	page, err := w.store.List(t.Context(), "/registry/example.com/gadgets/", store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WaitFor(t.Context(), page.Rev); err != nil {
		t.Fatal(err)
	}
	for _, kv := range page.KVs {
		o, err := w.Shelf(gadgets.GroupVersionResource).Decode(&kv)
		if err != nil {
			t.Fatal(err)
		}
		want[o.GetName()] = o.(*core.ConfigMap).Data["k"]
	}
	has := map[string]string{}
	for _, o := range w.View().List(gadgets.GroupVersionResource, client.Select{}) {
		has[o.GetName()] = o.(*core.ConfigMap).Data["k"]
	}
	if fmt.Sprint(has) != fmt.Sprint(want) {
		t.Errorf("the shelf has %v, the store %v", has, want)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		mu.Lock()
		got := fmt.Sprint(told)
		mu.Unlock()
		if got == fmt.Sprint(want) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the watcher knows %s, the store has %v", got, want)
		}
	}
	stop()
	watch.Wait()
}

func TestCloseEndsWatches(t *testing.T) {
	w := newWorld(t, nil)
	before := client.Changed(w.View())
	s, err := w.Open(t.Context(), gadgets, gadgets.GroupVersionResource)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-before:
	default:
		t.Error("nobody is told of a new resource")
	}
	if _, err := w.Write(t.Context(), s, object.Key{Namespace: "ns", Name: "a"}, gadget("a", "1"), store.Absent); err != nil {
		t.Fatal(err)
	}
	ended, synced := make(chan error, 1), make(chan bool, 1)
	go func() {
		ended <- w.View().Watch(t.Context(), gadgets.GroupVersionResource, func(e client.Event) {
			if e.Type == client.Synced {
				synced <- true
			}
		})
	}()
	<-synced
	w.Close(s)
	if err := <-ended; !errors.Is(err, client.ErrGone) {
		t.Errorf("the watch ended with %v, want %v", err, client.ErrGone)
	}
	if _, ok := w.View().Lookup(gadgets.GroupVersionResource, object.Key{Namespace: "ns", Name: "a"}); ok {
		t.Error("a resource that is gone still has objects")
	}
	// Whoever still holds the shelf gets an answer.
	it, err := w.Write(t.Context(), s, object.Key{Namespace: "ns", Name: "b"}, gadget("b", "1"), store.Absent)
	if err != nil || it == nil || it.Object.GetName() != "b" {
		t.Errorf("a write to a shelf that is gone: %v, %v", it, err)
	}
}
