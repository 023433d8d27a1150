package cache

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"proa.dev/client"
	"proa.dev/object"
)

// View is the cache as client.View.
type View struct{ cache *Cache }

// View is the cache as client.View. It is filled once Ready is closed.
func (c *Cache) View() View { return View{c} }

// Lookup implements client.View.
func (v View) Lookup(r client.Resource, key object.Key) (object.Object, bool) {
	s := v.cache.Shelf(r)
	if s == nil {
		return nil, false
	}
	it, ok := s.Get(key)
	if !ok {
		return nil, false
	}
	return it.Object, true
}

// List implements client.View.
func (v View) List(r client.Resource, sel client.Select) []object.Object {
	s := v.cache.Shelf(r)
	if s == nil {
		return nil
	}
	items := s.Select(sel)
	out := make([]object.Object, len(items))
	for i, it := range items {
		out[i] = it.Object
	}
	return out
}

// Watch implements client.View. It waits for the cache to be filled first.
func (v View) Watch(ctx context.Context, r client.Resource, fn func(client.Event)) error {
	s := v.cache.Shelf(r)
	if s == nil {
		return fmt.Errorf("watch %s: not a resource of this view", r)
	}
	select {
	case <-v.cache.ready:
	case <-v.cache.ended:
		return v.cache.endedBecause()
	case <-ctx.Done():
		return ctx.Err()
	}
	return v.cache.follow(ctx, s, fn)
}

// Changed implements client.Changing.
func (v View) Changed() <-chan struct{} { return v.cache.table.Load().changed }

// Resources implements client.View.
func (v View) Resources() []object.Resource {
	var out []object.Resource
	for _, s := range v.cache.shelves() {
		if s.served != (client.Resource{}) {
			r := s.Kind.Resource
			r.GroupVersionResource = s.served
			out = append(out, r)
		}
	}
	return out
}

// shelves is all of them, sorted by resource.
func (c *Cache) shelves() []*Shelf {
	t := c.table.Load()
	out := make([]*Shelf, 0, len(t.byPrefix))
	for _, s := range t.byPrefix {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Shelf) int {
		x, y := a.Kind.GroupVersionResource, b.Kind.GroupVersionResource
		return cmp.Or(cmp.Compare(x.Group, y.Group), cmp.Compare(x.Version, y.Version), cmp.Compare(x.Resource, y.Resource))
	})
	return out
}

// Shelves is all shelves, sorted by resource.
func (c *Cache) Shelves() []*Shelf { return c.shelves() }
