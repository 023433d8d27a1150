package cache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"proa.dev/apiserver/owners"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
	"proa.dev/store"
)

// root is what every key of Kubernetes begins with.
const root = "/registry/"

// Deps are what a Cache is made of.
type Deps struct {
	Store store.Store
	Kinds []*kinds.Kind // virtual kinds have no shelf
	Log   *slog.Logger
}

// Cache is every object that the store holds, decoded once.
type Cache struct {
	store store.Store
	log   *slog.Logger
	keep  *Keeper
	share *owners.Shares
	table atomic.Pointer[table]
	ready chan struct{} // closed when the first list is in
	ended chan struct{} // closed when Run returns

	rev atomic.Int64 // everything up to here is on the shelves

	feeding sync.Mutex // held while events go onto the shelves, and while the table changes; guards loading
	loading *loading   // the shelf that is being filled, if any

	mu      sync.Mutex // guards below
	waiting []waiter
	pending map[string][]*pending // by store key: writes from here whose event is still to come
	why     error                 // what Run ended with
}

// waiter waits until the cache has seen a revision.
type waiter struct {
	rev  int64
	done chan struct{}
}

// pending is a write that has been, or is about to be, given to the store.
type pending struct {
	obj   object.Object // nil for a delete
	shelf *Shelf
	value []byte
	item  *Item         // what the event made of it
	done  chan struct{} // closed when item is on its shelf
}

// New makes a cache of the kinds that are stored.
func New(d Deps) *Cache {
	c := &Cache{
		store: d.Store, log: d.Log, keep: &Keeper{}, share: owners.NewShares(),
		ready: make(chan struct{}), ended: make(chan struct{}), pending: map[string][]*pending{},
	}
	t := newTable()
	for _, k := range d.Kinds {
		if !k.Virtual {
			t.add(newShelf(k, c.keep, c.share), k.GroupVersionResource)
		}
	}
	c.table.Store(t)
	return c
}

// Shelf is where the objects of a resource are, in the version that is stored. Nil if the cache does not carry it.
func (c *Cache) Shelf(r client.Resource) *Shelf { return c.table.Load().byRes[r] }

// Shares is where objects have their sets of managed fields from.
func (c *Cache) Shares() *owners.Shares { return c.share }

// Keeper bounds the memory of encodings.
func (c *Cache) Keeper() *Keeper { return c.keep }

// Ready is closed when the cache has everything that was in the store when Run began.
func (c *Cache) Ready() <-chan struct{} { return c.ready }

// Rev is the revision up to which the cache has seen everything.
func (c *Cache) Rev() int64 { return c.rev.Load() }

// Run fills the cache and keeps it up to date until ctx ends or the store's watch breaks.
func (c *Cache) Run(ctx context.Context) (err error) {
	defer func() {
		c.mu.Lock()
		c.why = err
		c.mu.Unlock()
		close(c.ended)
	}()
	rev, err := c.load(ctx)
	if err != nil {
		return err
	}
	c.log.Info("objects loaded", "rev", rev)
	close(c.ready)
	if verifying {
		ctx, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { c.verifyAll(ctx) })
		defer wg.Wait()
		defer stop()
	}
	if err := c.store.Watch(ctx, root, rev, c.feed); err != nil && ctx.Err() == nil {
		return fmt.Errorf("watch the store: %w", err)
	}
	return nil
}

func (c *Cache) verifyAll(ctx context.Context) {
	tick := time.NewTicker(verifyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.Verify()
			return
		case <-tick.C:
			c.Verify()
		}
	}
}

func (c *Cache) endedBecause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.why, errors.New("the cache has ended"))
}

// feed takes one batch of the store's watch.
func (c *Cache) feed(b store.Batch) error {
	now := time.Now()
	c.feeding.Lock()
	for i := range b.Events {
		c.delay(&b.Events[i])
		c.event(&b.Events[i], now)
	}
	c.feeding.Unlock()
	c.advance(b.Rev)
	return nil
}

// event brings one change onto its shelf, and lets the writer go on if it was written here.
func (c *Cache) event(e *store.Event, now time.Time) {
	s, key := c.locate(e.Key)
	p := c.claim(e)
	if s == nil && p == nil {
		return
	}
	var it *Item
	switch {
	case s == nil: // written while its kind was withdrawn
		it = p.loose(key, e.Rev)
	case s.behind(e): // it was loaded with the shelf, or will be
		if p != nil {
			it = p.loose(key, e.Rev)
		}
	case e.Delete:
		change, ok := s.remove(key, e.Rev, now)
		if ok {
			it = change.Item
		}
	case p != nil:
		p.obj.SetResourceVersion(strconv.FormatInt(e.Rev, 10))
		it = &Item{Key: key, Rev: e.Rev, Object: p.obj, kind: s.Kind}
		s.put(it, now)
	default:
		var err error
		if it, err = decode(s, key, &e.KV); err != nil {
			// One broken value must not stop the others: the object stays as it was.
			c.log.Error("decode a stored object", "key", e.Key, "rev", e.Rev, "err", err)
			break
		}
		s.put(it, now)
	}
	if p != nil {
		p.item = it
		close(p.done)
	}
}

// claim finds the write from here that an event is the echo of.
func (c *Cache) claim(e *store.Event) *pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.pending[e.Key]
	for i, p := range list {
		if (p.obj == nil) == e.Delete && bytes.Equal(p.value, e.Value) {
			c.drop(e.Key, i)
			return p
		}
	}
	return nil
}

// drop takes the write at index i of a key away. The caller holds mu.
func (c *Cache) drop(key string, i int) {
	if len(c.pending[key]) == 1 {
		delete(c.pending, key)
		return
	}
	c.pending[key] = slices.Delete(c.pending[key], i, i+1)
}

// withdraw takes a write away that the store did not take.
func (c *Cache) withdraw(key string, p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.pending[key], p); i >= 0 {
		c.drop(key, i)
	}
}

// advance says that everything up to rev is on the shelves.
func (c *Cache) advance(rev int64) {
	if rev <= c.rev.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rev.Store(rev)
	c.waiting = slices.DeleteFunc(c.waiting, func(w waiter) bool {
		if w.rev <= rev {
			close(w.done)
		}
		return w.rev <= rev
	})
}

// locate finds the shelf of a store key: "/registry/services/specs/ns/name".
func (c *Cache) locate(key string) (*Shelf, object.Key) {
	rest, ok := strings.CutPrefix(key, root)
	if !ok {
		return nil, object.Key{}
	}
	t := c.table.Load()
	for i := 0; i < len(rest); i++ {
		if rest[i] != '/' {
			continue
		}
		if s := t.byPrefix[rest[:i]]; s != nil {
			k := object.ParseKey(rest[i+1:])
			if (k.Namespace != "") == s.Kind.Namespaced {
				return s, k
			}
		}
	}
	return nil, object.Key{}
}

// decode makes an Item of a stored value.
func decode(s *Shelf, key object.Key, kv *store.KV) (*Item, error) {
	o, err := s.Decode(kv)
	if err != nil {
		return nil, err
	}
	return &Item{Key: key, Rev: kv.Rev, Object: o, kind: s.Kind}, nil
}
