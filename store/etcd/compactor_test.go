package etcd

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"proa.dev/store"
)

// clockStore is a store whose revision grows by ten a minute.
type clockStore struct {
	store.Store
	start     time.Time
	compacted []int64
}

func (s *clockStore) Revision(context.Context) (int64, error) {
	return 1 + 10*int64(time.Since(s.start)/time.Minute), nil
}

func (s *clockStore) Compact(_ context.Context, rev int64) error {
	if n := len(s.compacted); n > 0 && rev <= s.compacted[n-1] {
		return store.ErrCompacted
	}
	s.compacted = append(s.compacted, rev)
	return nil
}

func TestCompactorKeepsFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &clockStore{start: time.Now()}
		ctx, cancel := context.WithTimeout(t.Context(), 21*time.Minute)
		defer cancel()
		if err := (Compactor{Store: s, Log: slog.New(slog.DiscardHandler)}).Run(ctx); err != nil {
			t.Error(err)
		}
		// After 5, 10, 15 and 20 minutes, to what it was five minutes before.
		if want := []int64{1, 51, 101, 151}; !slices.Equal(s.compacted, want) {
			t.Errorf("compacted to %v, want %v", s.compacted, want)
		}
	})
}
