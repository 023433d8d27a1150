package etcd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"proa.dev/kit/roottest"
	"proa.dev/store"
)

// crashDir tells the child process of TestKilledWhileWriting where to write.
const crashDir = "PROA_TEST_CRASH_DIR"

// TestCrashWriter is the child: it writes until it is killed and prints every write that was acknowledged.
func TestCrashWriter(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("run by TestKilledWhileWriting")
	}
	s, _ := start(t, Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	var out sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 100000 { // the parent kills us long before
				key := fmt.Sprintf("/w%d/%d-%d", w, os.Getpid(), i)
				rev, err := s.Apply(t.Context(), store.Write{Key: key, Value: []byte(key)})
				if err != nil {
					t.Error(err)
					return
				}
				out.Lock()
				fmt.Printf("acked %s %d\n", key, rev)
				out.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestKilledWhileWriting(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]int64{}
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashWriter$", "-test.timeout=60s")
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(pipe)
		killed, rest := false, strings.Builder{}
		for n := 0; lines.Scan(); {
			var key string
			var rev int64
			if _, err := fmt.Sscanf(lines.Text(), "acked %s %d", &key, &rev); err != nil {
				rest.WriteString(lines.Text() + "\n")
				continue
			}
			acked[key] = rev
			if n++; n == 400+300*round { // what is in the pipe after the kill counts as well
				killed = true
				if err := cmd.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || !killed {
			t.Fatalf("round %d: the writer ended by itself (%v):\n%s", round, err, rest.String())
		}
	}
	s, _ := start(t, Config{Dir: dir})
	for key, rev := range acked {
		if kv, err := s.Get(t.Context(), key); err != nil || kv.Rev != rev || string(kv.Value) != key {
			t.Errorf("acknowledged %s at %d, found %+v, %v", key, rev, kv, err)
		}
	}
	if len(acked) < 2000 {
		t.Errorf("only %d writes were acknowledged", len(acked))
	}
}

// smallDisk is a file system of some megabytes.
func smallDisk(t *testing.T, megabytes int) string {
	roottest.Need(t, "mounts a small tmpfs")
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

func TestNearlyFullDiskRefusesWritesButNotDeletes(t *testing.T) {
	dir := smallDisk(t, 64)
	s, stop := start(t, Config{Dir: dir, MinFree: -1})
	rev, err := s.Apply(t.Context(), store.Write{Key: "/a", Value: []byte("1")})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	s, _ = start(t, Config{Dir: dir, MinFree: 1 << 30})
	_, err = s.Apply(t.Context(), store.Write{Key: "/b", Value: []byte("1")})
	if !errors.Is(err, store.ErrNoSpace) || !strings.Contains(err.Error(), dir) {
		t.Errorf("write: %v, want ErrNoSpace and the directory", err)
	}
	if _, err := s.Apply(t.Context(), store.Write{Key: "/a", If: rev, Delete: true}); err != nil {
		t.Errorf("delete: %v", err)
	}
}

func TestStartOnAFullDisk(t *testing.T) {
	dir := smallDisk(t, 1)
	s, err := New(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err = s.Run(t.Context()); !errors.Is(err, store.ErrNoSpace) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want ErrNoSpace and the directory", err)
	}
}

func TestQuota(t *testing.T) {
	s, _ := start(t, Config{Dir: t.TempDir(), Quota: 4 << 20})
	var err error
	var n int
	for ; err == nil && n < 100; n++ {
		_, err = s.Apply(t.Context(), store.Write{Key: fmt.Sprintf("/%d", n), Value: make([]byte, 512<<10)})
	}
	if !errors.Is(err, store.ErrNoSpace) || n < 3 {
		t.Errorf("after %d writes of 512 KiB: %v, want ErrNoSpace", n, err)
	}
	kv, err := s.Get(t.Context(), "/0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), store.Write{Key: "/0", If: kv.Rev, Delete: true}); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// TestDiskFiller is the child of TestFullDisk: it writes until the store gives up and prints what it was told.
func TestDiskFiller(t *testing.T) {
	dir := os.Getenv(fullDir)
	if dir == "" {
		t.Skip("run by TestFullDisk")
	}
	s, err := New(Config{Dir: dir, MinFree: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	for i := range 1000 {
		key := fmt.Sprintf("/%d", i)
		rev, err := s.Apply(t.Context(), store.Write{Key: key, Value: make([]byte, 256<<10)})
		if err != nil {
			break
		}
		fmt.Printf("acked %s %d\n", key, rev)
	}
	err = <-done
	fmt.Printf("ended %v %v\n", errors.Is(err, store.ErrNoSpace), err)
}

// fullDir tells the child where to write.
const fullDir = "PROA_TEST_FULL_DIR"

// TestFullDisk fills the disk up to where the log itself cannot be written: Run ends with a clear error, nothing panics, and with
// more room everything acknowledged is there.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, 24)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestDiskFiller$", "-test.timeout=110s")
	cmd.Env = append(os.Environ(), fullDir+"="+dir)
	out, err := cmd.CombinedOutput() // a store that never gives up is ended
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	acked, ended := parseAcked(string(out))
	if !strings.HasPrefix(ended, "true ") || !strings.Contains(ended, dir) || !strings.Contains(ended, "the disk is full") {
		t.Errorf("run: %s; want ErrNoSpace, the directory and the fix", ended)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	s, stop := start(t, Config{Dir: dir, MinFree: -1})
	for key, rev := range acked {
		if kv, err := s.Get(t.Context(), key); err != nil || kv.Rev != rev {
			t.Errorf("acknowledged %s at %d, found %d, %v", key, rev, kv.Rev, err)
		}
	}
	stop() // before the unmount
	if len(acked) < 10 {
		t.Errorf("only %d writes were acknowledged before the disk was full", len(acked))
	}
}

func parseAcked(out string) (acked map[string]int64, ended string) {
	acked = map[string]int64{}
	for line := range strings.Lines(out) {
		var key string
		var rev int64
		if _, err := fmt.Sscanf(line, "acked %s %d", &key, &rev); err == nil {
			acked[key] = rev
		} else if rest, ok := strings.CutPrefix(line, "ended "); ok {
			ended = rest
		}
	}
	return acked, ended
}
