package controltest

import (
	"cmp"
	"context"
	"slices"
	"sync"

	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// View reads the objects in place.
func (a *API) View() client.View { return view{a} }

type view struct{ a *API }

func (v view) Lookup(r client.Resource, key object.Key) (object.Object, bool) {
	return v.a.lookup(r, key)
}

func (v view) List(r client.Resource, sel client.Select) []object.Object {
	return v.a.list(r, func(o object.Object) bool {
		if p, ok := o.(*core.Pod); sel.Node != "" && (!ok || p.Spec.NodeName != sel.Node) {
			return false
		}
		return (sel.Namespace == "" || o.GetNamespace() == sel.Namespace) &&
			(sel.Owner == "" || object.OwnedBy(o, sel.Owner))
	})
}

func (v view) Resources() []object.Resource {
	v.a.mu.Lock()
	defer v.a.mu.Unlock()
	var out []object.Resource
	for _, r := range v.a.served {
		out = append(out, r)
	}
	slices.SortFunc(out, func(x, y object.Resource) int { return cmp.Compare(x.String(), y.String()) })
	return out
}

func (a *API) lookup(r client.Resource, key object.Key) (object.Object, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.objects[r][key]
	return e.o, ok
}

func (a *API) list(r client.Resource, keep func(object.Object) bool) []object.Object {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []object.Object
	for _, e := range a.objects[r] {
		if keep(e.o) {
			out = append(out, e.o)
		}
	}
	slices.SortFunc(out, func(x, y object.Object) int {
		return cmp.Or(cmp.Compare(x.GetNamespace(), y.GetNamespace()), cmp.Compare(x.GetName(), y.GetName()))
	})
	return out
}

// watcher is one Watch call: an endless queue.
type watcher struct {
	r client.Resource

	mu      sync.Mutex // guards pending
	pending []client.Event
	wake    chan struct{}
}

func (w *watcher) push(e client.Event) {
	w.mu.Lock()
	w.pending = append(w.pending, e)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (v view) Watch(ctx context.Context, r client.Resource, fn func(client.Event)) error {
	w := &watcher{r: r, wake: make(chan struct{}, 1)}
	existing := v.a.subscribe(w)
	defer v.a.unsubscribe(w)
	for _, o := range existing {
		fn(client.Event{Type: client.Added, Object: o})
	}
	fn(client.Event{Type: client.Synced})
	for {
		w.mu.Lock()
		batch := w.pending
		w.pending = nil
		w.mu.Unlock()
		for _, e := range batch {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fn(e)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
	}
}

func (a *API) subscribe(w *watcher) []object.Object {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watchers[w] = true
	var out []object.Object
	for _, e := range a.objects[w.r] {
		out = append(out, e.o)
	}
	return out
}

func (a *API) unsubscribe(w *watcher) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.watchers, w)
}
