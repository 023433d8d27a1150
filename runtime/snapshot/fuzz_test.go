package snapshot_test

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/snapshot"
	"proa.dev/runtime/snapshot/snapshottest"
)

// arena is a store next to a file that no layer may reach, and a layer with every kind of link to stand on.
type arena struct {
	root  string
	store *snapshot.Store
	below snapshot.Layer
}

func newArena(f *testing.F) *arena {
	roottest.Need(f, "layers have owners")
	root := f.TempDir()
	if err := os.WriteFile(filepath.Join(root, "victim"), []byte("safe"), 0o644); err != nil {
		f.Fatal(err)
	}
	below := snapshottest.Tar(f, map[int]string{2: "a"},
		snapshottest.Dir("usr"), snapshottest.Dir("usr/lib"), snapshottest.File("usr/lib/a"), snapshottest.Sym("lib", "usr/lib"),
		snapshottest.Sym("up", "../../../../../.."+root), snapshottest.Sym("abs", root), snapshottest.Sym("loop", "loop"),
		snapshottest.File("usr/.wh.gone"))
	return &arena{
		root:  root,
		store: open(f, filepath.Join(root, "store"), snapshot.Limits{Entries: 200, Bytes: 1 << 20}),
		below: snapshottest.Layer(below),
	}
}

// try unpacks a layer alone and on top of the other. It may fail, as long as it stays where it belongs.
func (a *arena) try(t *testing.T, layer []byte) {
	for _, layers := range [][]snapshot.Layer{{snapshottest.Layer(layer)}, {a.below, snapshottest.Layer(layer)}} {
		if _, err := a.store.Unpack(t.Context(), layers); err != nil {
			continue
		}
		if _, err := a.store.Collect(func() []digest.Digest { return []digest.Digest{a.below.DiffID} }); err != nil {
			t.Fatal(err)
		}
		if err := a.store.Sweep(); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(a.root)
	if err != nil || len(entries) != 2 {
		t.Fatalf("a layer wrote outside of its store: %v, %v", entries, err)
	}
	if b, err := os.ReadFile(filepath.Join(a.root, "victim")); string(b) != "safe" {
		t.Fatalf("a layer wrote outside of its store: %q, %v", b, err)
	}
	if left, err := filepath.Glob(filepath.Join(a.root, "store/layers/new-*")); err != nil || len(left) > 0 {
		t.Fatalf("half a layer is left: %v, %v", left, err)
	}
}

// FuzzUnpack tries bytes that may be a tar.
func FuzzUnpack(f *testing.F) {
	a := newArena(f)
	f.Add(snapshottest.Tar(f, map[int]string{1: "x"}, snapshottest.Dir("d"), snapshottest.File("d/f"), snapshottest.Hard("h", "d/f")))
	f.Add(snapshottest.Tar(f, nil, snapshottest.File("lib/x"), snapshottest.File("up/y"), snapshottest.Hard("h", "usr/lib/a")))
	f.Add([]byte("\x1f\x8b\x08\x00 no gzip"))
	f.Fuzz(a.try)
}

// FuzzEntries tries valid tars: each three bytes are an entry, made of names that get in each other's way.
func FuzzEntries(f *testing.F) {
	a := newArena(f)
	types := []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeChar, tar.TypeFifo}
	names := []string{
		"a", "a/b", "a/b/c", "b", "b/c", "lib/x", "lib/deep/y", "up/victim", "abs/victim", "loop/z", "usr/lib/a", "lib", "up", ".",
		".wh.a", "a/.wh.b", "a/.wh..wh..opq", ".wh.lib", ".wh..wh..opq", "up/.wh.victim", "../victim", "/abs/../victim",
	}
	targets := []string{"a", "a/b", "b", "..", "../..", "/", "lib", "up/victim", "abs/victim", "usr/lib/a", a.root, "../../../../../../.." + a.root, "."}
	f.Add([]byte{2, 0, 10, 0, 1, 0, 3, 3, 7})
	f.Add([]byte{0, 5, 0, 1, 14, 0, 0, 14, 0, 2, 1, 4, 0, 2, 0})
	f.Add([]byte{3, 0, 8, 3, 1, 9, 0, 6, 0, 0, 7, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		var headers []tar.Header
		for ; len(in) >= 3 && len(headers) < 12; in = in[3:] {
			h := tar.Header{Typeflag: types[int(in[0])%len(types)], Name: names[int(in[1])%len(names)]}
			if h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink {
				h.Linkname = targets[int(in[2])%len(targets)]
			}
			headers = append(headers, h)
		}
		a.try(t, snapshottest.Tar(t, nil, headers...))
	})
}
