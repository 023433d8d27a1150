package cache

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"

	"proa.dev/apiserver/codec"
	"proa.dev/object"
	"proa.dev/store"
)

// loadPage is how many keys are read from the store at a time.
const loadPage = 2000

// load reads everything as of one revision. The pages come one after another, their values are decoded on all processors.
func (c *Cache) load(ctx context.Context) (rev int64, err error) {
	work := make(chan []store.KV, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for kvs := range work {
				c.fill(kvs)
			}
		})
	}
	from := ""
	for {
		var page store.Page
		page, err = c.store.List(ctx, root, store.ListOptions{Rev: rev, From: from, Limit: loadPage})
		if err != nil {
			err = fmt.Errorf("read the store: %w", err)
			break
		}
		rev = page.Rev
		work <- page.KVs
		if page.Count <= int64(len(page.KVs)) {
			break
		}
		from = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
	close(work)
	wg.Wait()
	if err != nil {
		return 0, err
	}
	for _, s := range c.shelves() {
		s.mu.Lock()
		s.log.since, s.rev = rev, rev
		s.mu.Unlock()
	}
	c.advance(rev)
	return rev, nil
}

// fill puts stored values on their shelves, before anybody watches.
func (c *Cache) fill(kvs []store.KV) {
	for i := range kvs {
		s, key := c.locate(kvs[i].Key)
		if s == nil {
			continue
		}
		c.fillOne(s, key, &kvs[i])
	}
}

func (c *Cache) fillOne(s *Shelf, key object.Key, kv *store.KV) {
	it, err := decode(s, key, kv)
	if err != nil {
		c.log.Error("decode a stored object", "key", kv.Key, "rev", kv.Rev, "err", err)
		return
	}
	it.prove()
	s.mu.Lock()
	s.replace(it)
	s.mu.Unlock()
}

// Decode makes the object of a stored value: decoded, defaulted, with its resourceVersion.
func (s *Shelf) Decode(kv *store.KV) (object.Object, error) {
	o, err := codec.Load(s.Kind, kv.Value)
	if err != nil {
		return nil, err
	}
	s.Kind.Default(o)
	if s.Kind.Custom == nil {
		s.share.Share(o.GetManagedFields())
	}
	o.SetResourceVersion(strconv.FormatInt(kv.Rev, 10))
	return o, nil
}

// ItemOf is the Item of a stored value: the one on the shelf, if that has the same revision.
func (s *Shelf) ItemOf(kv *store.KV) (*Item, error) {
	key := object.ParseKey(kv.Key[len(s.prefix):])
	if it, ok := s.Get(key); ok && it.Rev == kv.Rev {
		return it, nil
	}
	return decode(s, key, kv)
}
