package localvolume

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"

	"proa.dev/client"
	kinds "proa.dev/kinds/storage"
	"proa.dev/kit/roottest"
	"proa.dev/object"
)

// fill makes one of everything below dir.
func fill(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	must(os.MkdirAll(in("sub/deep"), 0o755))
	must(os.WriteFile(in("sub/deep/file"), bytes.Repeat([]byte("proa"), 50000), 0o640))
	must(os.Link(in("sub/deep/file"), in("name")))
	must(os.Symlink("/etc/passwd", in("link")))
	must(unix.Mkfifo(in("pipe"), 0o600))
	must(os.Chown(in("sub"), 1000, 2000))
	must(os.Lchown(in("link"), 1000, 2000))
	must(os.Chmod(in("sub"), 0o2770|os.ModeSetgid))
	holes, err := os.Create(in("holes"))
	must(err)
	_, err = holes.WriteAt([]byte("end"), 8<<20)
	must(err)
	must(holes.Truncate(16 << 20))
	must(holes.Close())
	must(os.Chtimes(in("holes"), time.Unix(1000, 0), time.Unix(2000, 0)))
	if err := unix.Setxattr(in("holes"), "user.note", []byte("x"), 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(err)
	defer unix.Close(fd)
	must(unix.Bind(fd, &unix.SockaddrUnix{Name: in("sock")}))
}

func TestCopy(t *testing.T) {
	roottest.Need(t, "gives files to other users")
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.copy(t.Context(), "b", "a", 1<<20, false); !errors.Is(err, errNotFound) {
		t.Fatalf("a copy of nothing: %v", err)
	}
	if _, err := s.make("a", 1<<20, false); err != nil {
		t.Fatal(err)
	}
	fill(t, s.path("a"))
	for range 2 {
		if r, err := s.copy(t.Context(), "b", "a", 2<<20, false); err != nil || r.Bytes != 2<<20 || r.Partial {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	for _, name := range []string{"sub", "sub/deep/file", "name", "link", "pipe", "holes"} {
		var a, b unix.Stat_t
		if err := errors.Join(unix.Lstat(filepath.Join(s.path("a"), name), &a), unix.Lstat(filepath.Join(s.path("b"), name), &b)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid || a.Nlink != b.Nlink || a.Mtim != b.Mtim || a.Mode&unix.S_IFMT != unix.S_IFDIR && a.Size != b.Size {
			t.Errorf("%s: %+v became %+v", name, a, b)
		}
		if name == "holes" && b.Blocks > a.Blocks+64 {
			t.Errorf("%d blocks became %d", a.Blocks, b.Blocks)
		}
		if a.Mode&unix.S_IFMT == unix.S_IFREG {
			x, _ := os.ReadFile(filepath.Join(s.path("a"), name))
			y, err := os.ReadFile(filepath.Join(s.path("b"), name))
			if err != nil || !bytes.Equal(x, y) {
				t.Errorf("%s: other content, %v", name, err)
			}
		}
	}
	if to, err := os.Readlink(filepath.Join(s.path("b"), "link")); to != "/etc/passwd" {
		t.Errorf("the link goes to %q, %v", to, err)
	}
	if _, err := os.Lstat(filepath.Join(s.path("b"), "sock")); err == nil {
		t.Error("a socket was copied")
	}
	note := make([]byte, 8)
	if n, err := unix.Getxattr(filepath.Join(s.path("b"), "holes"), "user.note", note); !errors.Is(err, unix.EOPNOTSUPP) && string(note[:max(n, 0)]) != "x" {
		t.Errorf("the attribute is %q, %v", note[:max(n, 0)], err)
	}
}

// What an earlier process has begun is begun again; until it is whole it is no volume.
func TestCopyOverRestarts(t *testing.T) {
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.make("a", 1<<20, false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.path("a"), "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, whole, err := s.begin("b", "a", 1<<20, false); err != nil || whole {
		t.Fatal(whole, err)
	}
	if err := os.WriteFile(filepath.Join(s.path("b"), "half"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.find("b"); !errors.Is(err, errNotFound) {
		t.Errorf("half a volume: %v", err)
	}
	for _, id := range []string{"a", "b"} {
		if err := s.remove(id); !errors.Is(err, errBusy) {
			t.Errorf("%s can be removed: %v", id, err)
		}
	}
	if s, err = openStore(s.dir); err != nil { // the next process
		t.Fatal(err)
	}
	if _, err := s.copy(t.Context(), "b", "a", 1<<20, false); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.path("b"))
	if err != nil || len(entries) != 1 || entries[0].Name() != "f" {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestOrders(t *testing.T) {
	d := newDriver(t, t.TempDir())
	if _, err := d.store.make("a", 1<<20, false); err != nil {
		t.Fatal(err)
	}
	node := func(orders string) map[string]string {
		n := &core.Node{}
		n.Name, n.Annotations = "n1", map[string]string{kinds.LocalCopy: orders}
		if have, ok := client.Lookup[core.Node](d.View, object.Key{Name: "n1"}); ok {
			n.Annotations[kinds.LocalCopied] = have.Annotations[kinds.LocalCopied]
		}
		d.carryOut(t.Context(), n)
		have, err := client.Get[core.Node](t.Context(), d.Client, object.Key{Name: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		return kinds.LocalAnswers(have)
	}
	got := node(`{"b":{"from":"a","bytes":1048576,"claim":"x/y"},"c":{"from":"never","bytes":1048576,"claim":"x/z"},"..":{"from":"a","bytes":1,"claim":"x/w"}}`)
	if said, ok := got["b"]; !ok || said != "" {
		t.Errorf("a copy: %q", said)
	}
	if said, ok := got["c"]; !ok || said != "" {
		t.Errorf("a copy of what no pod had yet: %q", said)
	}
	if got[".."] == "" {
		t.Error("a volume of an impossible name")
	}
	if got = node(`{"b":{"from":"a","bytes":1048576,"claim":"x/y","drop":true}}`); len(got) != 1 || got["b"] != kinds.LocalDropped {
		t.Errorf("dropped: %v", got)
	}
	if _, err := d.store.find("b"); !errors.Is(err, errNotFound) {
		t.Errorf("still there: %v", err)
	}
	if got = node(""); len(got) != 0 {
		t.Errorf("without orders: %v", got)
	}
}
