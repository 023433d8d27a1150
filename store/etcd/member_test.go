package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"proa.dev/store"
	"proa.dev/store/storetest"
)

// start runs a member in dir until the test ends or stop is called.
func start(t testing.TB, cfg Config) (s *Store, stop func()) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-s.Ready():
	case err := <-done:
		stopped = true
		t.Fatalf("run: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("not ready after 20 s")
	}
	return s, stop
}

func TestMember(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	storetest.Run(t, func(t *testing.T) store.Store {
		s, _ := start(t, Config{Dir: t.TempDir()})
		return s
	})
}

func BenchmarkMember(b *testing.B) {
	s, _ := start(b, Config{Dir: b.TempDir()})
	storetest.Bench(b, s)
}

// BenchmarkStart measures the first start in an empty directory, up to the first durable write.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		s, stop := start(b, Config{Dir: b.TempDir()})
		if _, err := s.Apply(b.Context(), store.Write{Key: "/a"}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		stop()
		b.StartTimer()
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, Config{Dir: dir, Cluster: "one"})
	var last int64
	for i := range 3000 { // more than one snapshot of the raft log
		rev, err := s.Apply(t.Context(), store.Write{Key: fmt.Sprintf("/k/%d", i%50), If: last50(i, last), Value: []byte("v")})
		if err != nil {
			var c *store.Conflict
			if !errors.As(err, &c) {
				t.Fatal(err)
			}
			if rev, err = s.Apply(t.Context(), store.Write{Key: c.Key, If: c.Current.Rev, Value: []byte("v")}); err != nil {
				t.Fatal(err)
			}
		}
		last = rev
	}
	stop()
	s, _ = start(t, Config{Dir: dir, Cluster: "one"})
	rev, err := s.Revision(t.Context())
	if err != nil || rev != last {
		t.Errorf("revision %d, %v after the restart, want %d", rev, err, last)
	}
	p, err := s.List(t.Context(), "/k/", store.ListOptions{})
	if err != nil || len(p.KVs) != 50 {
		t.Errorf("%d keys, %v, want 50", len(p.KVs), err)
	}
}

// last50 is the precondition of the i-th write over 50 keys in turn: the keys come back every 50 revisions.
func last50(i int, last int64) int64 {
	if i < 50 {
		return store.Absent
	}
	return last - 49
}

func TestRefusesADirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	start(t, Config{Dir: dir})
	other, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	err = other.Run(t.Context())
	want := fmt.Sprintf("another process (pid %d) uses this data directory", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want %q and the directory", err, want)
	}
}

func TestRefusesAnotherCluster(t *testing.T) {
	dir := t.TempDir()
	_, stop := start(t, Config{Dir: dir, Cluster: "one"})
	stop()
	s, err := New(Config{Dir: dir, Cluster: "two"})
	if err != nil {
		t.Fatal(err)
	}
	if err = s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to another cluster") {
		t.Errorf("got %v", err)
	}
}

func TestBrokenLogIsAnError(t *testing.T) {
	dir := t.TempDir()
	_, stop := start(t, Config{Dir: dir})
	stop()
	logs, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log in %s: %v", dir, err)
	}
	f, err := os.OpenFile(logs[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("garbage garbage garbage"), 16); err != nil {
		t.Fatal(err)
	}
	f.Close()
	s, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	t.Log(err)
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want an error that names %s", err, dir)
	}
}

func TestMethodsWaitForRunAndEndWithIt(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Get(ctx, "/a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before Run: %v", err)
	}
	s2, stop := start(t, Config{Dir: t.TempDir()})
	stop()
	if _, err := s2.Apply(t.Context(), store.Write{Key: "/a"}); err == nil {
		t.Error("a write after the stop succeeded")
	}
}
