package rest

import (
	"context"
	"errors"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/apiserver/cache"
	"proa.dev/object"
)

// Expire deletes objects of kinds that have a time to live when that is over, until ctx ends. It sleeps until the next one
// is due, so a quiet cluster does not wake it.
func (a *API) Expire(ctx context.Context) error {
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake.C:
		}
		wake.Reset(max(a.expireOnce(ctx), time.Second))
	}
}

// expireOnce deletes what is due, and says how long nothing else will be.
func (a *API) expireOnce(ctx context.Context) time.Duration {
	now, next := a.now(), 24*time.Hour
	for _, s := range a.table.Load().served {
		if s.Also != nil || s.Shelf == nil || s.Kind.TTL == 0 {
			continue
		}
		next = min(next, s.Kind.TTL)
		var due []*cache.Item
		a.cache.Snapshot(s.Shelf, "").Walk("", object.Key{}, func(it *cache.Item) bool {
			left := lastWrite(it, now).Add(s.Kind.TTL).Sub(now)
			if left <= 0 {
				due = append(due, it)
			} else {
				next = min(next, left)
			}
			return ctx.Err() == nil
		})
		for _, it := range due {
			_, err := a.cache.Remove(ctx, s.Shelf, it.Key, it.Rev)
			if _, changed := cache.ErrConflict(err); err != nil && !changed && !apierrors.IsNotFound(err) && !errors.Is(err, context.Canceled) {
				a.log.Error("delete an expired object", "kind", s.Kind.Kind, "key", it.Key, "err", err)
			}
		}
	}
	return next
}

// lastWrite is about when an object was written last. Kinds with a time to live are events, which say it themselves; what they say of
// the future does not count.
func lastWrite(it *cache.Item, now time.Time) time.Time {
	at := it.Object.GetCreationTimestamp().Time
	e, ok := it.Object.(*core.Event)
	if !ok {
		return at
	}
	if e.LastTimestamp.After(at) && !e.LastTimestamp.After(now) {
		at = e.LastTimestamp.Time
	}
	if e.Series != nil && e.Series.LastObservedTime.After(at) && !e.Series.LastObservedTime.After(now) {
		at = e.Series.LastObservedTime.Time
	}
	return at
}
