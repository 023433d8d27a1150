package nettest

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"proa.dev/client"
	"proa.dev/object"
)

// View is a client.View whose objects the test puts in and takes out. It keeps the rules of the interface: a watcher hears
// every object, then Synced, then each change in order, and what it hears of is in the View already.
type View struct {
	mu       sync.Mutex // guards all below
	objects  map[client.Resource]map[object.Key]object.Object
	watchers map[*watcher]bool
}

type watcher struct {
	resource client.Resource
	queue    []client.Event
	wake     chan struct{}
}

// NewView makes a View with these objects.
func NewView(os ...object.Object) *View {
	v := &View{objects: map[client.Resource]map[object.Key]object.Object{}, watchers: map[*watcher]bool{}}
	for _, o := range os {
		v.Put(o)
	}
	return v
}

func resourceOf(o object.Object) client.Resource { return object.ResourceFor(object.KindOf(o)) }

// Put adds or replaces an object, which is frozen from then on.
func (v *View) Put(o object.Object) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, k := resourceOf(o), object.KeyOf(o)
	if v.objects[r] == nil {
		v.objects[r] = map[object.Key]object.Object{}
	}
	e := client.Event{Type: client.Added, Object: o}
	if old, ok := v.objects[r][k]; ok {
		e.Type, e.Old = client.Modified, old
	}
	v.objects[r][k] = o
	v.tell(r, e)
}

// Take removes an object.
func (v *View) Take(o object.Object) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, k := resourceOf(o), object.KeyOf(o)
	old, ok := v.objects[r][k]
	if !ok {
		return
	}
	delete(v.objects[r], k)
	v.tell(r, client.Event{Type: client.Deleted, Object: old, Old: old})
}

func (v *View) tell(r client.Resource, e client.Event) {
	for w := range v.watchers {
		if w.resource == r {
			w.queue = append(w.queue, e)
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

// Lookup implements client.View.
func (v *View) Lookup(r client.Resource, key object.Key) (object.Object, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o, ok := v.objects[r][key]
	return o, ok
}

// List implements client.View; of the selection it knows the namespace.
func (v *View) List(r client.Resource, sel client.Select) []object.Object {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.list(r, sel)
}

func (v *View) list(r client.Resource, sel client.Select) []object.Object {
	var out []object.Object
	for k, o := range v.objects[r] {
		if sel.Namespace == "" || sel.Namespace == k.Namespace {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b object.Object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// Watch implements client.View.
func (v *View) Watch(ctx context.Context, r client.Resource, fn func(client.Event)) error {
	w := &watcher{resource: r, wake: make(chan struct{}, 1)}
	v.mu.Lock()
	for _, o := range v.list(r, client.Select{}) {
		w.queue = append(w.queue, client.Event{Type: client.Added, Object: o})
	}
	w.queue = append(w.queue, client.Event{Type: client.Synced})
	v.watchers[w] = true
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.watchers, w)
	}()
	for {
		v.mu.Lock()
		batch := w.queue
		w.queue = nil
		v.mu.Unlock()
		for _, e := range batch {
			fn(e)
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
	}
}

// Resources implements client.View.
func (v *View) Resources() []object.Resource { return nil }
