package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"proa.dev/store"
)

// limit bounds every wait of the suite.
const limit = 20 * time.Second

// Run checks the contract of store.Store. open gives an empty, ready store and cleans up with t.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		fn   func(context.Context, *testing.T, store.Store)
	}{
		{"compare and put", testPut}, {"compare and delete", testDelete}, {"list", testList}, {"list pages", testPages},
		{"list as of a revision", testHistory}, {"revisions grow", testRevisions}, {"one winner", testOneWinner},
		{"too large", testTooLarge}, {"watch live", testWatchLive}, {"watch replays", testWatchReplay},
		{"watch under a prefix", testWatchPrefix}, {"watch tells progress", testProgress},
		{"watch with a slow reader", testSlowReader}, {"watch ends with its function", testWatchError},
		{"compaction", testCompaction}, {"bytes are kept", testBytes},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c.fn(ctx, t, open(t))
		})
	}
}

func put(ctx context.Context, t testing.TB, s store.Store, key string, cond int64, value string) int64 {
	t.Helper()
	rev, err := s.Apply(ctx, store.Write{Key: key, If: cond, Value: []byte(value)})
	if err != nil {
		t.Fatalf("put %s if %d: %v", key, cond, err)
	}
	return rev
}

func remove(ctx context.Context, t testing.TB, s store.Store, key string, cond int64) int64 {
	t.Helper()
	rev, err := s.Apply(ctx, store.Write{Key: key, If: cond, Delete: true})
	if err != nil {
		t.Fatalf("delete %s if %d: %v", key, cond, err)
	}
	return rev
}

func testPut(ctx context.Context, t *testing.T, s store.Store) {
	if _, err := s.Get(ctx, "/a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get of a missing key: %v, want ErrNotFound", err)
	}
	r1 := put(ctx, t, s, "/a", store.Absent, "1")
	r2 := put(ctx, t, s, "/a", r1, "2")
	if r2 <= r1 {
		t.Errorf("revision went from %d to %d", r1, r2)
	}
	want := store.KV{Key: "/a", Value: []byte("2"), Rev: r2}
	if got, err := s.Get(ctx, "/a"); err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, cond := range []int64{store.Absent, r1, r2 + 1} {
		_, err := s.Apply(ctx, store.Write{Key: "/a", If: cond, Value: []byte("3")})
		var c *store.Conflict
		if !errors.As(err, &c) {
			t.Fatalf("put if %d: %v, want a Conflict", cond, err)
		}
		if d := cmp.Diff(&store.Conflict{Key: "/a", Current: &want}, c); d != "" {
			t.Errorf("put if %d: (-want +got)\n%s", cond, d)
		}
	}
	_, err := s.Apply(ctx, store.Write{Key: "/b", If: r2, Value: []byte("1")})
	var c *store.Conflict
	if !errors.As(err, &c) || c.Current != nil {
		t.Errorf("put of a missing key if %d: %v, want a Conflict without a current value", r2, err)
	}
}

func testDelete(ctx context.Context, t *testing.T, s store.Store) {
	r1 := put(ctx, t, s, "/a", store.Absent, "1")
	var c *store.Conflict
	if _, err := s.Apply(ctx, store.Write{Key: "/a", If: r1 + 1, Delete: true}); !errors.As(err, &c) || c.Current == nil {
		t.Errorf("delete at the wrong revision: %v, want a Conflict", err)
	}
	r2 := remove(ctx, t, s, "/a", r1)
	if r2 <= r1 {
		t.Errorf("revision went from %d to %d", r1, r2)
	}
	if _, err := s.Get(ctx, "/a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get of a deleted key: %v, want ErrNotFound", err)
	}
	if _, err := s.Apply(ctx, store.Write{Key: "/a", If: r1, Delete: true}); !errors.As(err, &c) || c.Current != nil {
		t.Errorf("second delete: %v, want a Conflict without a current value", err)
	}
	put(ctx, t, s, "/a", store.Absent, "again")
}

func keys(p store.Page) (out []string) {
	for _, kv := range p.KVs {
		out = append(out, kv.Key)
	}
	return out
}

func list(ctx context.Context, t testing.TB, s store.Store, prefix string, opt store.ListOptions) store.Page {
	t.Helper()
	p, err := s.List(ctx, prefix, opt)
	if err != nil {
		t.Fatalf("list %s %+v: %v", prefix, opt, err)
	}
	return p
}

func testList(ctx context.Context, t *testing.T, s store.Store) {
	var last int64
	for _, k := range []string{"/r/pods/b/1", "/r/pods/a/2", "/r/podtemplates/a/1", "/r/pods/a/1"} {
		last = put(ctx, t, s, k, store.Absent, k)
	}
	p := list(ctx, t, s, "/r/pods/", store.ListOptions{})
	if d := cmp.Diff([]string{"/r/pods/a/1", "/r/pods/a/2", "/r/pods/b/1"}, keys(p)); d != "" {
		t.Errorf("keys (-want +got)\n%s", d)
	}
	if p.Rev != last || p.Count != 3 {
		t.Errorf("rev %d count %d, want %d and 3", p.Rev, p.Count, last)
	}
	for _, kv := range p.KVs {
		if string(kv.Value) != kv.Key || kv.Rev == 0 {
			t.Errorf("wrong content: %+v", kv)
		}
	}
	if p := list(ctx, t, s, "", store.ListOptions{}); len(p.KVs) != 4 {
		t.Errorf("the empty prefix lists %v", keys(p))
	}
	if p := list(ctx, t, s, "/none/", store.ListOptions{}); len(p.KVs) != 0 || p.Count != 0 || p.Rev != last {
		t.Errorf("empty list: %+v", p)
	}
}

func testPages(ctx context.Context, t *testing.T, s store.Store) {
	var want []string
	for i := range 25 {
		k := fmt.Sprintf("/p/%02d", i)
		put(ctx, t, s, k, store.Absent, "x")
		want = append(want, k)
	}
	var got []string
	opt := store.ListOptions{Limit: 10}
	for left := int64(25); ; {
		p := list(ctx, t, s, "/p/", opt)
		if p.Count != left {
			t.Errorf("count %d from %q, want %d", p.Count, opt.From, left)
		}
		if opt.Rev == 0 {
			opt.Rev = p.Rev
			put(ctx, t, s, "/p/05x", store.Absent, "later than the list")
			put(ctx, t, s, "/p/15x", store.Absent, "later than the list")
		}
		if p.Rev != opt.Rev {
			t.Errorf("page at revision %d, want %d", p.Rev, opt.Rev)
		}
		got = append(got, keys(p)...)
		left -= int64(len(p.KVs))
		if left <= 0 || len(p.KVs) == 0 {
			break
		}
		opt.From = p.KVs[len(p.KVs)-1].Key + "\x00"
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("pages (-want +got)\n%s", d)
	}
}

func testHistory(ctx context.Context, t *testing.T, s store.Store) {
	r1 := put(ctx, t, s, "/h/a", store.Absent, "old")
	r2 := put(ctx, t, s, "/h/b", store.Absent, "b")
	r3 := put(ctx, t, s, "/h/a", r1, "new")
	remove(ctx, t, s, "/h/b", r2)
	p := list(ctx, t, s, "/h/", store.ListOptions{Rev: r2})
	want := []store.KV{{Key: "/h/a", Value: []byte("old"), Rev: r1}, {Key: "/h/b", Value: []byte("b"), Rev: r2}}
	if d := cmp.Diff(want, p.KVs); d != "" || p.Rev != r2 {
		t.Errorf("at %d, answered for %d: (-want +got)\n%s", r2, p.Rev, d)
	}
	if _, err := s.List(ctx, "/h/", store.ListOptions{Rev: r3 + 1000}); !errors.Is(err, store.ErrFuture) {
		t.Errorf("list of the future: %v, want ErrFuture", err)
	}
}

func testRevisions(ctx context.Context, t *testing.T, s store.Store) {
	var last int64
	for i := range 20 {
		rev := put(ctx, t, s, fmt.Sprintf("/k%d", i%3), at(ctx, t, s, fmt.Sprintf("/k%d", i%3)), "v")
		if rev <= last {
			t.Fatalf("revision %d after %d", rev, last)
		}
		last = rev
		if now, err := s.Revision(ctx); err != nil || now < rev {
			t.Fatalf("Revision says %d, %v after a write at %d", now, err, rev)
		}
	}
}

// at is the precondition that fits a key now.
func at(ctx context.Context, t testing.TB, s store.Store, key string) int64 {
	kv, err := s.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return kv.Rev
}

func testOneWinner(ctx context.Context, t *testing.T, s store.Store) {
	rev := put(ctx, t, s, "/w", store.Absent, "start")
	const n = 16
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, errs[i] = s.Apply(ctx, store.Write{Key: "/w", If: rev, Value: fmt.Appendf(nil, "%d", i)})
		})
	}
	wg.Wait()
	won := -1
	for i, err := range errs {
		var c *store.Conflict
		switch {
		case err == nil && won >= 0:
			t.Errorf("both %d and %d won", won, i)
		case err == nil:
			won = i
		case !errors.As(err, &c):
			t.Errorf("writer %d: %v", i, err)
		}
	}
	kv, err := s.Get(ctx, "/w")
	if err != nil || string(kv.Value) != fmt.Sprint(won) {
		t.Errorf("writer %d won, but the value is %q (%v)", won, kv.Value, err)
	}
}

func testTooLarge(ctx context.Context, t *testing.T, s store.Store) {
	_, err := s.Apply(ctx, store.Write{Key: "/big", Value: make([]byte, 8<<20)})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("8 MB: %v, want ErrTooLarge", err)
	}
	put(ctx, t, s, "/big", store.Absent, string(make([]byte, 1<<20)))
}

func testBytes(ctx context.Context, t *testing.T, s store.Store) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	put(ctx, t, s, "/bytes", store.Absent, string(all))
	put(ctx, t, s, "/empty", store.Absent, "")
	if kv, err := s.Get(ctx, "/bytes"); err != nil || !slices.Equal(kv.Value, all) {
		t.Errorf("got %v, %v", kv.Value, err)
	}
	if kv, err := s.Get(ctx, "/empty"); err != nil || len(kv.Value) != 0 {
		t.Errorf("got %v, %v", kv.Value, err)
	}
}

func testCompaction(ctx context.Context, t *testing.T, s store.Store) {
	r1 := put(ctx, t, s, "/c", store.Absent, "1")
	r2 := put(ctx, t, s, "/c", r1, "2")
	r3 := put(ctx, t, s, "/c", r2, "3")
	if err := s.Compact(ctx, r3); err != nil {
		t.Fatalf("compact: %v", err)
	}
	if kv, err := s.Get(ctx, "/c"); err != nil || string(kv.Value) != "3" {
		t.Errorf("the current value after compaction: %+v, %v", kv, err)
	}
	if _, err := s.List(ctx, "/c", store.ListOptions{Rev: r1}); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("list before the compaction: %v, want ErrCompacted", err)
	}
	err := s.Watch(ctx, "/c", r1-1, func(store.Batch) error { return errors.New("delivered") })
	if !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watch from before the compaction: %v, want ErrCompacted", err)
	}
	if err := s.Compact(ctx, r2); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("compact to before the compaction: %v, want ErrCompacted", err)
	}
	if err := s.Compact(ctx, r3+1000); !errors.Is(err, store.ErrFuture) {
		t.Errorf("compact to the future: %v, want ErrFuture", err)
	}
}
