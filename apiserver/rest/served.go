package rest

import (
	"context"
	"fmt"
	"maps"
	"slices"

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
}

// table is what is served. It is never written to: kinds that come and go make a new one.
type table struct {
	kinds  []*kinds.Kind
	served map[client.Resource]*Served
	custom map[string]*custom // by the name of their CustomResourceDefinition
}

// custom is the versions of one kind that came at run time.
type custom struct {
	kinds []*kinds.Kind
	shelf *cache.Shelf
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
	a.table.Store(a.table.Load().with(name, &custom{kinds: served, shelf: shelf}))
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
