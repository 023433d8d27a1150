package cache

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
	"proa.dev/store"
)

// table says which shelf is where. It is never written to once it is in use: kinds that come and go make a new one.
type table struct {
	byRes    map[client.Resource]*Shelf
	byPrefix map[string]*Shelf // "pods", "services/specs", "example.com/gadgets"
	changed  chan struct{}     // closed when another table takes its place
}

func newTable() *table {
	return &table{byRes: map[client.Resource]*Shelf{}, byPrefix: map[string]*Shelf{}, changed: make(chan struct{})}
}

// add puts a shelf into a table that is not in use yet. The first of its resources is the one that a View shows.
func (t *table) add(s *Shelf, resources ...client.Resource) {
	if len(resources) > 0 {
		s.served = resources[0]
	}
	for _, r := range resources {
		t.byRes[r] = s
	}
	t.byPrefix[s.Kind.Storage] = s
}

// without is a copy of t that lacks a shelf.
func (t *table) without(s *Shelf) *table {
	n := &table{byRes: maps.Clone(t.byRes), byPrefix: maps.Clone(t.byPrefix), changed: make(chan struct{})}
	if s != nil {
		delete(n.byPrefix, s.Kind.Storage)
		maps.DeleteFunc(n.byRes, func(_ client.Resource, have *Shelf) bool { return have == s })
	}
	return n
}

// replace puts n in the place of the current table. The caller holds feeding.
func (c *Cache) replace(n *table) {
	was := c.table.Swap(n)
	close(was.changed)
}

// loading is a shelf that is being filled: what happens meanwhile waits.
type loading struct {
	shelf  *Shelf
	events []store.Event
}

// Open loads the objects of a kind that is served from now on, by the resources given: they are the versions of the same stored objects.
// A shelf that holds them already is taken away when the new one is there, and its watches end. The caller has begun Run, and
// calls Open and Close one at a time.
func (c *Cache) Open(ctx context.Context, k *kinds.Kind, resources ...client.Resource) (*Shelf, error) {
	s := newShelf(k, c.keep, c.share)
	c.feeding.Lock()
	c.loading = &loading{shelf: s}
	c.feeding.Unlock()
	rev, err := c.loadShelf(ctx, s)
	c.feeding.Lock()
	defer c.feeding.Unlock()
	l := c.loading
	c.loading = nil
	if err != nil {
		return nil, err
	}
	s.from, s.rev, s.log.since = rev, rev, rev
	old := c.table.Load().byPrefix[k.Storage]
	t := c.table.Load().without(old)
	t.add(s, resources...)
	c.replace(t)
	if old != nil {
		old.next = s
		old.away()
	}
	now := time.Now()
	for i := range l.events {
		c.event(&l.events[i], now)
	}
	return s, nil
}

// Close takes a shelf away: its resources are not served any more, and its watches end.
func (c *Cache) Close(s *Shelf) {
	c.feeding.Lock()
	defer c.feeding.Unlock()
	t := c.table.Load()
	if t.byPrefix[s.Kind.Storage] != s {
		return
	}
	c.replace(t.without(s))
	s.away()
}

// loadShelf reads what is stored of one kind, as of one revision.
func (c *Cache) loadShelf(ctx context.Context, s *Shelf) (rev int64, err error) {
	from := ""
	for {
		page, err := c.store.List(ctx, s.prefix, store.ListOptions{Rev: rev, From: from, Limit: loadPage})
		if err != nil {
			return 0, fmt.Errorf("read the stored %s: %w", s.Kind.Resource.Resource, err)
		}
		rev = page.Rev
		for i := range page.KVs {
			c.fillOne(s, object.ParseKey(page.KVs[i].Key[len(s.prefix):]), &page.KVs[i])
		}
		if page.Count <= int64(len(page.KVs)) {
			return rev, nil
		}
		from = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
}

// delay keeps an event for the shelf that is being loaded. The caller holds feeding.
func (c *Cache) delay(e *store.Event) {
	if l := c.loading; l != nil && len(e.Key) > len(l.shelf.prefix) && e.Key[:len(l.shelf.prefix)] == l.shelf.prefix {
		l.events = append(l.events, *e)
	}
}

// behind says whether the shelf was loaded with what e tells already.
func (s *Shelf) behind(e *store.Event) bool { return e.Rev <= s.from }

// loose is what was written, for a writer whose shelf does not get it.
func (p *pending) loose(key object.Key, rev int64) *Item {
	if p.obj == nil {
		return nil
	}
	p.obj.SetResourceVersion(strconv.FormatInt(rev, 10))
	return &Item{Key: key, Rev: rev, Object: p.obj, kind: p.shelf.Kind}
}
