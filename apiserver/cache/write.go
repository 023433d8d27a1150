package cache

import (
	"context"
	"errors"
	"time"

	"proa.dev/apiserver/codec"
	"proa.dev/object"
	"proa.dev/store"
)

// Write stores o under key if the key is at revision was (store.Absent: does not exist), and returns what the shelf then shows.
// o belongs to the cache from here on. The error is *store.Conflict if the precondition does not hold.
func (c *Cache) Write(ctx context.Context, s *Shelf, key object.Key, o object.Object, was int64) (*Item, error) {
	o.SetResourceVersion("")
	value, err := codec.Store(o)
	if err != nil {
		return nil, err
	}
	return c.apply(ctx, store.Write{Key: s.StoreKey(key), If: was, Value: value}, &pending{obj: o, shelf: s, value: value})
}

// Remove deletes key if it is at revision was, and returns its last state at the revision of the delete; nil if the cache had
// not seen it.
func (c *Cache) Remove(ctx context.Context, s *Shelf, key object.Key, was int64) (*Item, error) {
	return c.apply(ctx, store.Write{Key: s.StoreKey(key), If: was, Delete: true}, &pending{shelf: s})
}

func (c *Cache) apply(ctx context.Context, w store.Write, p *pending) (*Item, error) {
	p.done = make(chan struct{})
	c.mu.Lock()
	c.pending[w.Key] = append(c.pending[w.Key], p)
	c.mu.Unlock()
	if _, err := c.store.Apply(ctx, w); err != nil {
		c.withdraw(w.Key, p)
		return nil, err
	}
	// It is durable: from here on only the end of the cache or of the caller's patience can keep its answer away.
	select {
	case <-p.done:
		return p.item, nil
	case <-c.ended:
		return nil, c.endedBecause()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Fresh waits until the cache has seen everything that was written before the call, by anybody.
func (c *Cache) Fresh(ctx context.Context) error {
	rev, err := c.store.Revision(ctx)
	if err != nil {
		return err
	}
	return c.WaitFor(ctx, rev)
}

// WaitFor waits until the cache has seen rev: a 504 if that takes more than 3 seconds.
func (c *Cache) WaitFor(ctx context.Context, rev int64) error {
	if c.rev.Load() >= rev {
		return nil
	}
	w := waiter{rev, make(chan struct{})}
	c.mu.Lock()
	if c.rev.Load() >= rev {
		c.mu.Unlock()
		return nil
	}
	c.waiting = append(c.waiting, w)
	c.mu.Unlock()
	patience := time.NewTimer(waitFor)
	defer patience.Stop()
	select {
	case <-w.done:
		return nil
	case <-c.ended:
		return c.endedBecause()
	case <-ctx.Done():
		return ctx.Err()
	case <-patience.C:
		return TooLarge(rev, c.rev.Load())
	}
}

// ErrConflict says whether err is a write's failed precondition.
func ErrConflict(err error) (*store.Conflict, bool) {
	var c *store.Conflict
	return c, errors.As(err, &c)
}
