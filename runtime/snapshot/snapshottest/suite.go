package snapshottest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/snapshot"
)

// Snapshotter is what the suite tests.
type Snapshotter interface {
	Unpack(ctx context.Context, layers []snapshot.Layer) (digest.Digest, error)
	Has(chain digest.Digest) bool
	Prepare(key string, chain digest.Digest) (snapshot.Rootfs, error)
	Release(key string) error
	Collect(keep func() []digest.Digest) (snapshot.Usage, error)
	Active() map[string]digest.Digest
}

// Run runs the suite. open opens a snapshotter on a directory, which may hold what another one left there.
func Run(t *testing.T, open func(t *testing.T, root string) Snapshotter) {
	roottest.Need(t, "layers have owners and devices, and are joined by a mount")
	for name, test := range map[string]func(*testing.T, func(*testing.T, string) Snapshotter){
		"merged":     merged,
		"compressed": compressed,
		"whiteouts":  whiteouts,
		"implied":    implied,
		"hard links": hardLinks,
		"attributes": attributes,
		"hostile":    hostile,
		"wrong diff": wrongDiff,
		"writable":   writable,
		"collect":    collect,
		"reopen":     reopen,
		"shared":     shared,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

func unpack(t testing.TB, s Snapshotter, layers ...snapshot.Layer) digest.Digest {
	t.Helper()
	chain, err := s.Unpack(context.Background(), layers)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Has(chain) {
		t.Fatalf("layer %s is not there after Unpack", chain)
	}
	return chain
}

// wantTree unpacks layers and compares the merged tree.
func wantTree(t *testing.T, s Snapshotter, want string, layers ...snapshot.Layer) {
	t.Helper()
	chain := unpack(t, s, layers...)
	r, err := s.Prepare("tree", chain)
	if err != nil {
		t.Fatal(err)
	}
	Mounted(t, r, func(dir string) error {
		got, err := Tree(dir)
		var b strings.Builder
		for line := range strings.Lines(want) {
			b.WriteString(strings.TrimSpace(line) + "\n")
		}
		if diff := cmp.Diff(strings.TrimSpace(b.String()), got); diff != "" {
			t.Errorf("merged tree (-want +got):\n%s", diff)
		}
		return err
	})
	if err := s.Release("tree"); err != nil {
		t.Error(err)
	}
}

func merged(t *testing.T, open func(*testing.T, string) Snapshotter) {
	wantTree(t, open(t, t.TempDir()), `
		010644 0:0 /etc/fifo
		020600 0:0 /etc/null dev 1:3
		040755 0:0 /etc/
		041777 0:0 /tmp/
		100600 7:8 /etc/secret two
		100644 0:0 /etc/motd one
		104755 0:0 /etc/su s
		120777 0:0 /etc/link -> ../../../../outside`,
		Layer(Tar(t, map[int]string{1: "one", 2: "one", 3: "s"},
			Dir("./etc"), File("./etc/motd"), File("./etc/secret"),
			tar.Header{Typeflag: tar.TypeReg, Name: "/etc/su", Mode: 0o4755},
			Sym("etc/link", "../../../../outside"),
			tar.Header{Typeflag: tar.TypeChar, Name: "etc/null", Devmajor: 1, Devminor: 3, Mode: 0o600},
			tar.Header{Typeflag: tar.TypeFifo, Name: "etc/fifo"},
			tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777})),
		Layer(Tar(t, map[int]string{0: "two"},
			tar.Header{Typeflag: tar.TypeReg, Name: "etc/secret", Uid: 7, Gid: 8, Mode: 0o600})))
}

func compressed(t *testing.T, open func(*testing.T, string) Snapshotter) {
	s := open(t, t.TempDir())
	plain := Tar(t, map[int]string{0: strings.Repeat("long ", 100_000)}, File("f"))
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(plain)
	w.Close()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	second := Tar(t, map[int]string{0: "z"}, File("g"))
	chain := unpack(t, s, Stored(plain, gz.Bytes()), Stored(second, enc.EncodeAll(second, nil)))
	if want := snapshot.Top([]digest.Digest{digest.FromBytes(plain), digest.FromBytes(second)}); chain != want {
		t.Errorf("chain = %s; want %s", chain, want)
	}
	other := Tar(t, nil, File("h"))
	if _, err := s.Unpack(t.Context(), []snapshot.Layer{Stored(other, gz.Bytes()[:gz.Len()/2])}); err == nil {
		t.Error("half a gzip layer was accepted")
	}
}

func whiteouts(t *testing.T, open func(*testing.T, string) Snapshotter) {
	wantTree(t, open(t, t.TempDir()), `
		040755 0:0 /a/
		040755 0:0 /opaque/
		040755 0:0 /over/
		100644 0:0 /a/stays 1
		100644 0:0 /opaque/new 2
		100644 0:0 /over/new 3
		100644 0:0 /same 4`,
		Layer(Tar(t, map[int]string{1: "1"},
			Dir("a"), File("a/stays"), File("a/gone"), Dir("a/dir"), File("a/dir/gone"),
			Dir("opaque"), File("opaque/old"), Dir("over"), File("over/old"), File("same"))),
		Layer(Tar(t, map[int]string{3: "2", 6: "3", 7: "4"},
			File("a/.wh.gone"), File("a/.wh.dir"),
			File("opaque/.wh..wh..opq"), File("opaque/new"),
			// Removed, and a directory of the same name made anew: nothing of the old one may show through.
			File(".wh.over"), Dir("over"), File("over/new"),
			// What a layer brings itself is not hidden by its own whiteout.
			File("same"), File(".wh.same"), File(".wh..wh.plnk"))))
}

func implied(t *testing.T, open func(*testing.T, string) Snapshotter) {
	wantTree(t, open(t, t.TempDir()), `
		040711 5:6 /opt/
		040750 1:2 /opt/app/
		040755 0:0 /new/
		040755 0:0 /new/dir/
		040755 0:0 /usr/
		040755 0:0 /usr/lib/
		040755 0:0 /usr/lib/deep/
		100644 0:0 /new/dir/f n
		100644 0:0 /opt/app/f x
		100644 0:0 /usr/lib/a a
		100644 0:0 /usr/lib/b b
		100644 0:0 /usr/lib/deep/c c
		120777 0:0 /lib -> usr/lib`,
		Layer(Tar(t, map[int]string{4: "a"},
			tar.Header{Typeflag: tar.TypeDir, Name: "opt/", Mode: 0o711, Uid: 5, Gid: 6},
			tar.Header{Typeflag: tar.TypeDir, Name: "opt/app/", Mode: 0o750, Uid: 1, Gid: 2},
			Dir("usr"), Dir("usr/lib"), File("usr/lib/a"), Sym("lib", "usr/lib"))),
		// Made by hand, as some builders do: directories are not named, and a path leads through a link of a lower layer.
		Layer(Tar(t, map[int]string{0: "x", 1: "b", 2: "c", 3: "n"},
			File("opt/app/f"), File("lib/b"), File("lib/deep/c"), File("new/dir/f"))))
}

func hardLinks(t *testing.T, open func(*testing.T, string) Snapshotter) {
	wantTree(t, open(t, t.TempDir()), `
		100600 1:0 /low low
		100600 1:0 /low2 low
		100600 1:0 /low3 = /low2
		100644 0:0 /a one
		100644 0:0 /b = /a
		100644 0:0 /later later
		120777 0:0 /s -> a
		120777 0:0 /s2 -> a`,
		Layer(Tar(t, map[int]string{0: "low"}, tar.Header{Typeflag: tar.TypeReg, Name: "low", Uid: 1, Mode: 0o600})),
		Layer(Tar(t, map[int]string{0: "one", 7: "later"},
			File("a"), Hard("b", "/a"), Sym("s", "a"), Hard("s2", "./s"),
			Hard("low2", "low"), Hard("low3", "low2"), File("later"), File("later"))))
}

func attributes(t *testing.T, open func(*testing.T, string) Snapshotter) {
	s := open(t, t.TempDir())
	// The capability to bind low ports, as file systems store it (struct vfs_cap_data, version 2).
	netBind := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	chain := unpack(t, s, Layer(Tar(t, map[int]string{1: "x", 2: strings.Repeat("\x00", 1<<20) + "end"},
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o711, Uid: 3},
		tar.Header{Typeflag: tar.TypeReg, Name: "bind", Uid: 9, Mode: 0o4755, PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability":        netBind,
			"SCHILY.xattr.user.note":                  "hello",
			"SCHILY.xattr.trusted.overlay.redirect":   "/etc",
			"SCHILY.xattr.security.selinux":           "system_u",
			"SCHILY.xattr.trusted.overlay.metacopy":   "",
			"SCHILY.xattr.trusted.overlay.opaque":     "y",
			"SCHILY.xattr.user.overlay.redirect.test": "",
		}},
		File("holes"),
		tar.Header{Typeflag: tar.TypeReg, Name: "old", ModTime: Time.AddDate(-200, 0, 0)})))
	r, err := s.Prepare("c", chain)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.Lower[0], "bind")
	for name, want := range map[string]string{"security.capability": netBind, "user.note": "hello", "trusted.overlay.redirect": ""} {
		buf := make([]byte, 64)
		n, err := unix.Lgetxattr(file, name, buf)
		if want == "" && err != unix.ENODATA || want != "" && string(buf[:max(n, 0)]) != want {
			t.Errorf("attribute %s = %q, %v; want %q", name, buf[:max(n, 0)], err, want)
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil || st.Mode != unix.S_IFREG|0o4755 || st.Uid != 9 || st.Mtim.Sec != Time.Unix() {
		t.Errorf("bind: %+v, %v", st, err)
	}
	if err := unix.Lstat(r.Upper, &st); err != nil || st.Mode&0o7777 != 0o711 || st.Uid != 3 {
		t.Errorf("the upper directory shows as the root, and has %o %d; want 711 3", st.Mode, st.Uid)
	}
	if err := unix.Lstat(filepath.Join(r.Lower[0], "holes"), &st); err != nil || st.Size != 1<<20+3 || st.Blocks*512 > 512<<10 {
		t.Errorf("holes: size %d, on disk %d, %v", st.Size, st.Blocks*512, err)
	}
}

func wrongDiff(t *testing.T, open func(*testing.T, string) Snapshotter) {
	s := open(t, t.TempDir())
	good, other := Tar(t, nil, File("good")), Tar(t, nil, File("other"))
	_, err := s.Unpack(t.Context(), []snapshot.Layer{Layer(good), Stored(good, other)})
	if err == nil || !strings.Contains(err.Error(), digest.FromBytes(good).String()) ||
		!strings.Contains(err.Error(), digest.FromBytes(other).String()) {
		t.Errorf("wrong bytes: %v; want an error with both digests", err)
	}
	if s.Has(snapshot.Top([]digest.Digest{digest.FromBytes(good), digest.FromBytes(good)})) {
		t.Error("the wrong layer is there")
	}
	unpack(t, s, Layer(good), Layer(good)) // and nothing is in the way of the right one
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Unpack(ctx, []snapshot.Layer{Layer(Tar(t, nil, File("x")))}); !errors.Is(err, context.Canceled) {
		t.Errorf("Unpack with a canceled context: %v", err)
	}
}

func writable(t *testing.T, open func(*testing.T, string) Snapshotter) {
	s := open(t, t.TempDir())
	chain := unpack(t, s, Layer(Tar(t, map[int]string{0: "lower"}, File("f"))))
	for _, key := range []string{"a", "b"} {
		r, err := s.Prepare(key, chain)
		if err != nil {
			t.Fatal(err)
		}
		Mounted(t, r, func(dir string) error {
			b, err := os.ReadFile(filepath.Join(dir, "f"))
			if string(b) != "lower" {
				t.Errorf("%s sees %q, %v; want lower", key, b, err)
			}
			return errors.Join(os.WriteFile(filepath.Join(dir, "f"), []byte(key), 0o644), os.Mkdir(filepath.Join(dir, "d"), 0o755))
		})
	}
	if _, err := s.Prepare("a", chain); !errors.Is(err, snapshot.ErrExists) {
		t.Errorf("Prepare of a taken key: %v; want ErrExists", err)
	}
	for _, key := range []string{"", ".", "..", "a/b", "../a", strings.Repeat("k", 200)} {
		if _, err := s.Prepare(key, chain); err == nil {
			t.Errorf("key %q was accepted", key)
		}
		if err := s.Release(key); err != nil {
			t.Errorf("Release(%q): %v", key, err)
		}
	}
	if _, err := s.Prepare("c", digest.FromString("none")); !errors.Is(err, snapshot.ErrNotFound) {
		t.Errorf("Prepare on a missing layer: %v; want ErrNotFound", err)
	}
	if len(s.Active()) != 2 {
		t.Errorf("Active = %v; want a and b", s.Active())
	}
	if err := errors.Join(s.Release("a"), s.Release("a")); err != nil {
		t.Error(err)
	}
	r, err := s.Prepare("a", chain)
	if err != nil {
		t.Fatal(err)
	}
	Mounted(t, r, func(dir string) error {
		b, err := os.ReadFile(filepath.Join(dir, "f"))
		if string(b) != "lower" {
			t.Errorf("a new snapshot sees %q", b)
		}
		return err
	})
	empty, err := s.Prepare("empty", "")
	if err != nil {
		t.Fatal(err)
	}
	Mounted(t, empty, func(dir string) error { return os.WriteFile(filepath.Join(dir, "f"), nil, 0o644) })
}

func collect(t *testing.T, open func(*testing.T, string) Snapshotter) {
	s := open(t, t.TempDir())
	base := Layer(Tar(t, nil, File("base")))
	one := unpack(t, s, base, Layer(Tar(t, nil, File("one"))))
	two := unpack(t, s, base, Layer(Tar(t, nil, File("two"))))
	if _, err := s.Prepare("runs", one); err != nil {
		t.Fatal(err)
	}
	keep := func() []digest.Digest { return nil }
	if _, err := s.Collect(keep); err != nil {
		t.Fatal(err)
	}
	if !s.Has(one) || s.Has(two) {
		t.Errorf("after Collect: in use %t, not in use %t; want true, false", s.Has(one), s.Has(two))
	}
	if err := s.Release("runs"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(keep); err != nil || s.Has(one) {
		t.Errorf("after Release and Collect the layer is still there (%v)", err)
	}
}

func reopen(t *testing.T, open func(*testing.T, string) Snapshotter) {
	root := t.TempDir()
	s := open(t, root)
	chain := unpack(t, s, Layer(Tar(t, nil, File("a"))), Layer(Tar(t, nil, File("b"))))
	r, err := s.Prepare("runs", chain)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Upper, "written"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s = open(t, root) // as after kill -9: nobody closed it
	if !s.Has(chain) || s.Active()["runs"] != chain {
		t.Errorf("after a restart: layers %t, snapshot on %q", s.Has(chain), s.Active()["runs"])
	}
	if _, err := os.Stat(filepath.Join(r.Upper, "written")); err != nil {
		t.Errorf("what the container wrote: %v", err)
	}
	if err := s.Release("runs"); err != nil {
		t.Error(err)
	}
}

// shared unpacks the same layers from many sides at once: each is read once.
func shared(t *testing.T, open func(*testing.T, string) Snapshotter) {
	s := open(t, t.TempDir())
	var mu sync.Mutex
	reads := 0
	base := Layer(Tar(t, map[int]string{0: strings.Repeat("x", 1<<20)}, File("base")))
	counted := base
	inner := base.Open
	counted.Open = func() (io.ReadCloser, error) {
		mu.Lock()
		reads++
		mu.Unlock()
		return inner()
	}
	var wg sync.WaitGroup
	for i := range 8 {
		top := Layer(Tar(t, nil, File(string(rune('a'+i)))))
		wg.Go(func() {
			if _, err := s.Unpack(context.Background(), []snapshot.Layer{counted, top}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if reads != 1 {
		t.Errorf("the shared layer was read %d times; want once", reads)
	}
}
