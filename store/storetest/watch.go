package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"proa.dev/store"
)

// recorder checks the order of what a Watch delivers and hands it on.
type recorder struct {
	events chan store.Event
	revs   chan int64 // Batch.Rev of each batch
	done   chan error // what Watch returned
	last   int64
	err    error
}

// record starts a Watch that ends with the test.
func record(ctx context.Context, t *testing.T, s store.Store, prefix string, after int64) *recorder {
	ctx, cancel := context.WithCancel(ctx)
	r := &recorder{events: make(chan store.Event, 1<<16), revs: make(chan int64, 1<<16), done: make(chan error, 1), last: after}
	go func() {
		r.done <- s.Watch(ctx, prefix, after, r.take)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-r.done; err != nil {
			t.Errorf("watch %s: %v", prefix, err)
		}
		if r.err != nil {
			t.Error(r.err)
		}
	})
	return r
}

func (r *recorder) take(b store.Batch) error {
	at := r.last
	for _, e := range b.Events {
		switch {
		case e.Rev <= r.last:
			r.err = fmt.Errorf("revision %d in a later batch than %d", e.Rev, r.last)
		case e.Rev < at:
			r.err = fmt.Errorf("revision %d after %d", e.Rev, at)
		case e.Rev > b.Rev:
			r.err = fmt.Errorf("revision %d in a batch up to %d", e.Rev, b.Rev)
		}
		at = e.Rev
		r.events <- e
	}
	if b.Rev <= r.last {
		r.err = fmt.Errorf("a batch up to %d after one up to %d", b.Rev, r.last)
	}
	r.last = b.Rev
	r.revs <- b.Rev
	return nil
}

func (r *recorder) want(ctx context.Context, t *testing.T, want ...store.Event) {
	t.Helper()
	var got []store.Event
	for range want {
		select {
		case e := <-r.events:
			got = append(got, e)
		case <-ctx.Done():
			t.Fatalf("got only %+v", got)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("events (-want +got)\n%s", d)
	}
}

// reach waits for progress up to rev.
func (r *recorder) reach(ctx context.Context, t *testing.T, rev int64) {
	t.Helper()
	for {
		select {
		case got := <-r.revs:
			if got >= rev {
				return
			}
		case <-ctx.Done():
			t.Fatalf("no progress up to %d", rev)
		}
	}
}

func event(key, value string, rev int64) store.Event {
	return store.Event{KV: store.KV{Key: key, Value: []byte(value), Rev: rev}}
}

func deleted(key string, rev int64) store.Event {
	return store.Event{KV: store.KV{Key: key, Rev: rev}, Delete: true}
}

func revision(ctx context.Context, t testing.TB, s store.Store) int64 {
	t.Helper()
	rev, err := s.Revision(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func testWatchLive(ctx context.Context, t *testing.T, s store.Store) {
	w := record(ctx, t, s, "/l/", revision(ctx, t, s))
	r1 := put(ctx, t, s, "/l/a", store.Absent, "1")
	r2 := put(ctx, t, s, "/l/a", r1, "2")
	r3 := remove(ctx, t, s, "/l/a", r2)
	w.want(ctx, t, event("/l/a", "1", r1), event("/l/a", "2", r2), deleted("/l/a", r3))
}

func testWatchReplay(ctx context.Context, t *testing.T, s store.Store) {
	r1 := put(ctx, t, s, "/y/a", store.Absent, "1")
	r2 := put(ctx, t, s, "/y/b", store.Absent, "1")
	r3 := put(ctx, t, s, "/y/a", r1, "2")
	r4 := remove(ctx, t, s, "/y/b", r2)
	record(ctx, t, s, "/y/", r1-1).want(ctx, t,
		event("/y/a", "1", r1), event("/y/b", "1", r2), event("/y/a", "2", r3), deleted("/y/b", r4))
	w := record(ctx, t, s, "/y/", r2)
	w.want(ctx, t, event("/y/a", "2", r3), deleted("/y/b", r4))
	r5 := put(ctx, t, s, "/y/c", store.Absent, "live")
	w.want(ctx, t, event("/y/c", "live", r5))
	record(ctx, t, s, "/y/", 0).want(ctx, t, event("/y/a", "1", r1))
}

func testWatchPrefix(ctx context.Context, t *testing.T, s store.Store) {
	start := revision(ctx, t, s)
	one, all := record(ctx, t, s, "/x/pods/", start), record(ctx, t, s, "", start)
	r1 := put(ctx, t, s, "/x/pods/a", store.Absent, "1")
	r2 := put(ctx, t, s, "/x/podtemplates/a", store.Absent, "1")
	r3 := put(ctx, t, s, "/x/pods/b", store.Absent, "1")
	one.want(ctx, t, event("/x/pods/a", "1", r1), event("/x/pods/b", "1", r3))
	all.want(ctx, t, event("/x/pods/a", "1", r1), event("/x/podtemplates/a", "1", r2), event("/x/pods/b", "1", r3))
}

func testProgress(ctx context.Context, t *testing.T, s store.Store) {
	r1 := put(ctx, t, s, "/other/0", store.Absent, "1")
	put(ctx, t, s, "/other/00", store.Absent, "1")
	late := record(ctx, t, s, "/mine/", r1-1) // has to catch up, with nothing to show for it
	w := record(ctx, t, s, "/mine/", revision(ctx, t, s))
	for i := range 10 {
		rev := put(ctx, t, s, fmt.Sprintf("/other/%d", i+1), store.Absent, "x")
		if got := revision(ctx, t, s); got < rev {
			t.Fatalf("revision %d after a write at %d", got, rev)
		}
		w.reach(ctx, t, rev)
		late.reach(ctx, t, rev)
	}
	r := put(ctx, t, s, "/mine/a", store.Absent, "1")
	w.want(ctx, t, event("/mine/a", "1", r))
}

// testSlowReader writes far more than any buffer while fn sleeps: nothing may be lost, doubled or reordered.
func testSlowReader(ctx context.Context, t *testing.T, s store.Store) {
	const n = 2000
	start := revision(ctx, t, s)
	got := make(chan error, 1)
	release := make(chan struct{})
	go func() {
		seen, first := 0, true
		got <- s.Watch(ctx, "/s/", start, func(b store.Batch) error {
			if first {
				<-release
				first = false
			}
			for _, e := range b.Events {
				if want := fmt.Sprint(seen); string(e.Value) != want {
					return fmt.Errorf("event %s carries %s, want %s", e.Key, e.Value, want)
				}
				seen++
			}
			if seen == n {
				return errDone
			}
			return nil
		})
	}()
	for i := range n {
		put(ctx, t, s, fmt.Sprintf("/s/%d", i), store.Absent, fmt.Sprint(i))
	}
	close(release)
	select {
	case err := <-got:
		if !errors.Is(err, errDone) {
			t.Error(err)
		}
	case <-time.After(limit):
		t.Error("the events did not all arrive")
	}
}

var errDone = errors.New("done")

func testWatchError(ctx context.Context, t *testing.T, s store.Store) {
	start := revision(ctx, t, s)
	put(ctx, t, s, "/e", store.Absent, "1")
	if err := s.Watch(ctx, "/e", start, func(store.Batch) error { return errDone }); !errors.Is(err, errDone) {
		t.Errorf("got %v, want the error of the function", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Watch(ended, "/e", start, func(store.Batch) error { return nil }); err != nil {
		t.Errorf("got %v from a watch whose context has ended, want nil", err)
	}
}
