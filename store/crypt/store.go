package crypt

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"proa.dev/store"
)

// Store encrypts what goes into another Store.
type Store struct {
	under    store.Store
	resource func(key string) Resource
	rules    atomic.Pointer[Rules]
}

// Resource names what a key of the store belongs to: {"", "secrets"}, {"apps", "deployments"}.
type Resource struct{ Group, Name string }

// New puts rules in front of a store. resource says what a key belongs to.
func New(under store.Store, rules *Rules, resource func(key string) Resource) *Store {
	s := &Store{under: under, resource: resource}
	s.rules.Store(rules)
	return s
}

// Use makes the store follow other rules from now on.
func (s *Store) Use(r *Rules) { s.rules.Store(r) }

var _ store.Store = (*Store)(nil)

// open decrypts a value in place.
func (s *Store) open(ctx context.Context, kv *store.KV) (stale bool, err error) {
	if len(kv.Value) == 0 {
		return false, nil // a delete
	}
	plain, stale, err := s.rules.Load().of(s.resource(kv.Key)).open(ctx, kv.Value, kv.Key)
	if err != nil {
		return false, fmt.Errorf("decrypt %s: %w", kv.Key, err)
	}
	kv.Value = plain
	return stale, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.KV, error) {
	kv, err := s.under.Get(ctx, key)
	if err != nil {
		return kv, err
	}
	_, err = s.open(ctx, &kv)
	return kv, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, opt store.ListOptions) (store.Page, error) {
	page, err := s.under.List(ctx, prefix, opt)
	if err != nil {
		return page, err
	}
	for i := range page.KVs {
		if _, err := s.open(ctx, &page.KVs[i]); err != nil {
			return store.Page{}, err
		}
	}
	return page, nil
}

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, w store.Write) (int64, error) {
	if !w.Delete {
		sealed, err := s.rules.Load().of(s.resource(w.Key)).seal(ctx, w.Value, w.Key)
		if err != nil {
			return 0, fmt.Errorf("encrypt %s: %w", w.Key, err)
		}
		w.Value = sealed
	}
	rev, err := s.under.Apply(ctx, w)
	var c *store.Conflict
	if errors.As(err, &c) && c.Current != nil {
		now := *c.Current
		if _, oerr := s.open(ctx, &now); oerr != nil {
			return 0, oerr
		}
		return 0, &store.Conflict{Key: c.Key, Current: &now}
	}
	return rev, err
}

// Revision implements store.Store.
func (s *Store) Revision(ctx context.Context) (int64, error) { return s.under.Revision(ctx) }

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, rev int64) error { return s.under.Compact(ctx, rev) }

// Watch implements store.Store. It breaks at a value that cannot be decrypted.
func (s *Store) Watch(ctx context.Context, prefix string, after int64, fn func(store.Batch) error) error {
	return s.under.Watch(ctx, prefix, after, func(b store.Batch) error {
		events := make([]store.Event, len(b.Events)) // what the store hands out may be shared
		copy(events, b.Events)
		for i := range events {
			if events[i].Delete {
				continue
			}
			if _, err := s.open(ctx, &events[i].KV); err != nil {
				return err
			}
		}
		b.Events = events
		return fn(b)
	})
}

// Stale implements store.Staler.
func (s *Store) Stale(ctx context.Context, key string) (bool, error) {
	rules := s.rules.Load()
	if rules.plain(s.resource(key)) {
		return false, nil
	}
	kv, err := s.under.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return s.open(ctx, &kv)
}

// reencryptPage is how many keys Reencrypt reads at a time.
const reencryptPage = 200

// Progress is how far Reencrypt is.
type Progress struct {
	Seen, Written int
	Last          string // the last key
}

// Reencrypt writes every value under the prefix anew that the first provider of its rule has not written, one after another, and only
// those that want says. It may be ended and begun again at any time: what it has done stays done. Values that somebody else writes meanwhile
// are up to date by that.
func (s *Store) Reencrypt(ctx context.Context, prefix string, want func(Resource) bool, tell func(Progress)) (Progress, error) {
	var p Progress
	opt := store.ListOptions{Limit: reencryptPage}
	for {
		page, err := s.under.List(ctx, prefix, opt)
		if err != nil {
			return p, err
		}
		for i := range page.KVs {
			kv := &page.KVs[i]
			r := s.resource(kv.Key)
			if !want(r) {
				continue
			}
			p.Seen++
			p.Last = kv.Key
			stale, err := s.open(ctx, kv)
			if err != nil {
				return p, err
			}
			if !stale {
				continue
			}
			_, err = s.Apply(ctx, store.Write{Key: kv.Key, If: kv.Rev, Value: kv.Value})
			if errors.As(err, new(*store.Conflict)) {
				continue // somebody else was faster, and wrote it anew
			}
			if err != nil {
				return p, err
			}
			p.Written++
		}
		tell(p)
		if len(page.KVs) == 0 || page.Count <= int64(len(page.KVs)) {
			return p, nil
		}
		opt.From = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
}
