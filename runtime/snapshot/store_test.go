package snapshot_test

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/snapshot"
	"proa.dev/runtime/snapshot/snapshottest"
)

func open(t testing.TB, root string, limits snapshot.Limits) *snapshot.Store {
	t.Helper()
	s, err := snapshot.Open(snapshot.Config{Root: root, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuite(t *testing.T) {
	snapshottest.Run(t, func(t *testing.T, root string) snapshottest.Snapshotter { return open(t, root, snapshot.Limits{}) })
}

func TestLimits(t *testing.T) {
	roottest.Need(t, "layers have owners")
	s := open(t, t.TempDir(), snapshot.Limits{Entries: 3, Bytes: 8192})
	var many []tar.Header
	for i := range 5 {
		many = append(many, snapshottest.File(fmt.Sprint(i)))
	}
	for want, plain := range map[string][]byte{
		"more than 3 entries":  snapshottest.Tar(t, nil, many...),
		"more than 8192 bytes": snapshottest.Tar(t, map[int]string{0: strings.Repeat("x", 8000)}, snapshottest.File("f")),
	} {
		_, err := s.Unpack(t.Context(), []snapshot.Layer{snapshottest.Layer(plain)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Unpack: %v; want %q", err, want)
		}
	}
}

// leftovers lists what lies around besides layers and snapshots.
func leftovers(t *testing.T, root string) []string {
	t.Helper()
	var left []string
	for _, pattern := range []string{"layers/new-*", "active/c[12]*", "trash/*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	return left
}

func TestCrashLeavesNothing(t *testing.T) {
	roottest.Need(t, "layers have owners")
	root := t.TempDir()
	s := open(t, root, snapshot.Limits{})
	for _, dir := range []string{"layers/new-123/fs/deep", "active/c1/upper", "active/c2@half/upper", "spare/new-1/upper", "trash/old/x"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	plain := snapshottest.Tar(t, nil, snapshottest.File("f"))
	chain, err := s.Unpack(t.Context(), []snapshot.Layer{snapshottest.Layer(plain)})
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, root, snapshot.Limits{})
	if len(s.Active()) != 0 {
		t.Errorf("Active = %v; want none, the crash came before it was whole", s.Active())
	}
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, root); len(left) != 0 {
		t.Errorf("left after a restart: %v", left)
	}
	// A layer from another boot that did not say it was on disk may have lost files.
	mark := filepath.Join(root, "layers", chain.Encoded(), "unsynced")
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("another-boot", mark); err != nil {
		t.Fatal(err)
	}
	if s = open(t, root, snapshot.Limits{}); s.Has(chain) {
		t.Error("a layer that may have lost files is trusted")
	}
}

func TestRunSyncsAndSweeps(t *testing.T) {
	roottest.Need(t, "layers have owners")
	root := t.TempDir()
	s := open(t, root, snapshot.Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	plain := snapshottest.Tar(t, nil, snapshottest.File("f"))
	chain, err := s.Unpack(ctx, []snapshot.Layer{snapshottest.Layer(plain)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prepare("c", chain); err != nil {
		t.Fatal(err)
	}
	if err := s.Release("c"); err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(root, "layers", chain.Encoded(), "unsynced")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, err := os.Lstat(mark)
		if os.IsNotExist(err) && len(leftovers(t, root)) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: mark %v, %v", err, leftovers(t, root))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
