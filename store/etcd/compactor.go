package etcd

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"proa.dev/store"
)

// CompactEvery is how often old history is forgotten. A watch or a paged list may be that old before it is told to start
// over, and never more than twice that.
const CompactEvery = 5 * time.Minute

// Compactor keeps between one and two CompactEvery of history.
type Compactor struct {
	Store store.Store
	Log   *slog.Logger // nil is slog.Default()
}

// Run compacts to the revision that it saw one round before, until ctx ends. A failed round is logged and made up for by
// the next.
func (c Compactor) Run(ctx context.Context) error {
	log := c.Log
	if log == nil {
		log = slog.Default()
	}
	tick := time.NewTicker(CompactEvery)
	defer tick.Stop()
	var last int64
	for {
		rev, err := c.Store.Revision(ctx)
		if err == nil && last > 0 && last < rev {
			err = c.Store.Compact(ctx, last)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, store.ErrCompacted):
			log.Warn("compact the store", "rev", last, "err", err)
		default:
			last = rev
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
