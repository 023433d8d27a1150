package rest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/cache"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
)

// Served is one resource in one version, as the API serves it.
type Served struct {
	object.Resource
	Kind  *kinds.Kind
	Also  *kinds.Other // nil: the version that is stored
	Shelf *cache.Shelf // nil: a virtual kind

	managers managers // custom kinds only
	filters  sync.Map // owners.Filter by subresource, made on first use
	empties  whereEmpty
}

// table is what is served. It is never written to: kinds that come and go make a new one.
type table struct {
	kinds  []*kinds.Kind
	served map[client.Resource]*Served
	custom map[string]*custom // by the name of their CustomResourceDefinition
}

// custom is the versions of one kind that came at run time.
type custom struct {
	stored *kinds.Kind
	kinds  []*kinds.Kind
	shelf  *cache.Shelf
}

func newTable(list []*kinds.Kind, c *cache.Cache) *table {
	t := &table{kinds: list, served: map[client.Resource]*Served{}, custom: map[string]*custom{}}
	for _, k := range list {
		t.add(k, c.Shelf(k.GroupVersionResource))
	}
	return t
}

// add serves a kind in all its versions. Without a shelf it is virtual.
func (t *table) add(k *kinds.Kind, shelf *cache.Shelf) {
	t.served[k.GroupVersionResource] = &Served{Resource: k.Resource, Kind: k, Shelf: shelf}
	for i := range k.Also {
		s := &Served{Resource: kinds.ParsePath(k.Also[i].Path), Kind: k, Also: &k.Also[i], Shelf: shelf}
		s.Resource.Kind, s.Namespaced = k.Resource.Kind, k.Namespaced
		t.served[s.GroupVersionResource] = s
	}
}

// with is a copy of t in which name stands for c; nil takes it away.
func (t *table) with(name string, c *custom) *table {
	n := &table{served: maps.Clone(t.served), custom: maps.Clone(t.custom)}
	if was := t.custom[name]; was != nil {
		for _, k := range was.kinds {
			delete(n.served, k.GroupVersionResource)
		}
		delete(n.custom, name)
	}
	n.kinds = slices.DeleteFunc(slices.Clone(t.kinds), func(k *kinds.Kind) bool { return k.Custom != nil })
	if c != nil {
		n.custom[name] = c
		for _, k := range c.kinds {
			n.add(k, c.shelf)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.custom)) {
		n.kinds = append(n.kinds, n.custom[name].kinds...)
	}
	return n
}

// Find is the resource, or nil if it is not served.
func (a *API) Find(r client.Resource) *Served { return a.table.Load().served[r] }

// Kinds is what is served now: the same slice until that changes. Nobody writes to it.
func (a *API) Kinds() []*kinds.Kind { return a.table.Load().kinds }

// Serve begins to serve the versions of a custom kind under the name of its definition, or serves them in another way than
// before. stored is the version in which objects are stored, whether or not it is among the served ones. When Serve returns, requests
// are answered. Calls of Serve and Withdraw come one at a time.
func (a *API) Serve(ctx context.Context, name string, stored *kinds.Kind, served []*kinds.Kind) error {
	resources := make([]client.Resource, 0, len(served))
	for _, k := range served {
		if k == stored {
			resources = slices.Insert(resources, 0, k.GroupVersionResource)
		} else {
			resources = append(resources, k.GroupVersionResource)
		}
	}
	shelf, err := a.cache.Open(ctx, stored, resources...)
	if err != nil {
		return fmt.Errorf("serve %s: %w", name, err)
	}
	a.table.Store(a.table.Load().with(name, &custom{stored, served, shelf}))
	return nil
}

// Withdraw ends to serve what Serve began under a name. Objects stay stored.
func (a *API) Withdraw(name string) {
	t := a.table.Load()
	c := t.custom[name]
	if c == nil {
		return
	}
	a.table.Store(t.with(name, nil))
	a.cache.Close(c.shelf)
}

// Adjust serves what Serve began under a name by other kinds, whose objects and schemas are the same.
func (a *API) Adjust(name string, served []*kinds.Kind) {
	t := a.table.Load()
	if c := t.custom[name]; c != nil {
		a.table.Store(t.with(name, &custom{c.stored, served, c.shelf}))
	}
}

// Empty deletes every object of what Serve began under a name, whoever minds, and says how many are left: finalizers hold them.
func (a *API) Empty(ctx context.Context, name string) (left int, err error) {
	c := a.table.Load().custom[name]
	if c == nil {
		return 0, nil
	}
	if err := a.cache.Fresh(ctx); err != nil {
		return 0, err
	}
	s := &Served{Resource: c.stored.Resource, Kind: c.stored, Shelf: c.shelf}
	var items []*cache.Item
	a.cache.Snapshot(c.shelf, "").Walk("", object.Key{}, func(it *cache.Item) bool { items = append(items, it); return true })
	for _, it := range items {
		next, wait := a.planDelete(s, it.Object, metav1.DeleteOptions{})
		switch {
		case !wait:
			_, err = a.cache.Remove(ctx, c.shelf, it.Key, it.Rev)
		case next != nil:
			left++
			_, err = a.cache.Write(ctx, c.shelf, it.Key, next, it.Rev)
		default:
			left++
		}
		if _, lost := cache.ErrConflict(err); lost {
			left++
		} else if err != nil {
			return left, err
		}
	}
	return left, nil
}
