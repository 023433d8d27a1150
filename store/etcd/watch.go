package etcd

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"proa.dev/store"
)

// maxBuffered is how many events a Watch holds for a slow fn before etcd has to keep them, which is far slower.
const maxBuffered = 1 << 16

// askAgain is the pause between two requests for progress, while one is wanted.
const askAgain = 5 * time.Millisecond

// watch is one open Watch.
type watch struct {
	wanted  atomic.Int64  // somebody waits for this revision
	reached atomic.Int64  // everything up to it has been given to fn
	nudge   chan struct{} // holds a token when wanted has grown
}

// wants asks the watch to say when it has delivered everything up to rev.
func (w *watch) wants(rev int64) {
	for {
		have := w.wanted.Load()
		if rev <= have || rev <= w.reached.Load() {
			return
		}
		if w.wanted.CompareAndSwap(have, rev) {
			break
		}
	}
	select {
	case w.nudge <- struct{}{}:
	default:
	}
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after int64, fn func(store.Batch) error) error {
	srv, err := s.server(ctx)
	if err != nil {
		return err
	}
	stream := srv.Watchable().NewWatchStream()
	in := inbox{wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	var pump sync.WaitGroup
	defer pump.Wait()
	defer func() { in.close(); stream.Close() }()
	pump.Go(func() { in.fill(stream.Chan()) })

	w := &watch{nudge: make(chan struct{}, 1)}
	w.reached.Store(after)
	s.mu.Lock()
	s.watches[w] = struct{}{}
	s.mu.Unlock()
	defer func() { s.mu.Lock(); delete(s.watches, w); s.mu.Unlock() }()

	key, end := prefixRange(prefix, "")
	id, err := stream.Watch(ctx, clientv3.AutoWatchID, key, end, after+1)
	if err != nil {
		return fmt.Errorf("watch %s: %w", prefix, err)
	}
	again := time.NewTimer(time.Hour)
	again.Stop()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-srv.StoppingNotify():
			return s.explain(fmt.Errorf("watch %s: %w", prefix, errStopped))
		case <-in.wake:
			batch, compacted := in.take()
			if compacted {
				return fmt.Errorf("watch %s after %d: %w", prefix, after, store.ErrCompacted)
			}
			if batch.Rev <= w.reached.Load() {
				continue // progress that an event has overtaken
			}
			if err := fn(batch); err != nil {
				return err
			}
			w.reached.Store(batch.Rev)
		case <-w.nudge:
		case <-again.C:
		}
		// A watch that still catches up answers nothing when asked for progress, so ask until it is there.
		if w.reached.Load() < w.wanted.Load() {
			stream.RequestProgress(id)
			again.Reset(askAgain)
		}
	}
}

// inbox holds what the stream delivered while fn was busy.
type inbox struct {
	wake chan struct{} // holds a token when there is something to take
	room chan struct{} // holds a token when something has been taken

	mu        sync.Mutex // guards below
	events    []store.Event
	rev       int64
	compacted bool
	closed    bool
}

// fill moves responses into the inbox until the stream is closed.
func (in *inbox) fill(ch <-chan mvcc.WatchResponse) {
	for res := range ch {
		for !in.put(res) {
			<-in.room
		}
		select {
		case in.wake <- struct{}{}:
		default:
		}
	}
}

// put adds one response; false: no room. All changes of one revision come in one response, and responses in order.
func (in *inbox) put(res mvcc.WatchResponse) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.closed:
		return true
	case len(in.events) >= maxBuffered:
		return false
	case res.CompactRevision != 0:
		in.compacted = true
	case len(res.Events) == 0:
		in.rev = max(in.rev, res.Revision)
	default:
		for _, e := range res.Events {
			in.events = append(in.events, fromEvent(e))
		}
		// Not res.Revision: for a watch that catches up it is ahead of what has been delivered.
		in.rev = max(in.rev, res.Events[len(res.Events)-1].GetKv().GetModRevision())
	}
	return true
}

func (in *inbox) take() (b store.Batch, compacted bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	b = store.Batch{Events: in.events, Rev: in.rev}
	in.events = nil
	select {
	case in.room <- struct{}{}:
	default:
	}
	return b, in.compacted
}

func (in *inbox) close() {
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	select {
	case in.room <- struct{}{}:
	default:
	}
}

func fromEvent(e *mvccpb.Event) store.Event {
	ev := store.Event{KV: fromKV(e.GetKv()), Delete: e.GetType() == mvccpb.Event_DELETE}
	if ev.Delete {
		ev.Value = nil
	}
	return ev
}
