package stage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nalice:x:1000:1001:Alice:/home/alice:/bin/sh\nnohome:x:5:5::\nnum:x:77:78::/n:/s\n4711:x:0:0:evil:/:/s\n"
	group  = "root:x:0:\nstaff:x:50:bob,alice\nalice:x:1001:\nwheel:x:10:root,alice\nbad\nworse:x:y:alice\n4711:x:0:\n"
)

func files(path string) string {
	return map[string]string{"/etc/passwd": passwd, "/etc/group": group}[path]
}

func TestLookUp(t *testing.T) {
	for _, c := range []struct {
		user wire.User
		want Account
		err  string
	}{
		{wire.User{}, Account{0, 0, []uint64{0, 10}, "/root"}, ""},
		{wire.User{Spec: "alice"}, Account{1000, 1001, []uint64{1001, 50, 10}, "/home/alice"}, ""},
		{wire.User{Spec: "1000"}, Account{1000, 1001, []uint64{1001, 50, 10}, "/home/alice"}, ""},
		{wire.User{Spec: "alice:staff"}, Account{1000, 50, []uint64{50}, "/home/alice"}, ""},
		{wire.User{Spec: "alice:9"}, Account{1000, 9, []uint64{9}, "/home/alice"}, ""},
		{wire.User{Spec: "12345"}, Account{12345, 0, []uint64{0}, "/"}, ""},
		{wire.User{Spec: "12345:staff"}, Account{12345, 50, []uint64{50}, "/"}, ""},
		{wire.User{Spec: "nohome"}, Account{5, 5, []uint64{5}, "/"}, ""},
		{wire.User{Spec: "alice", Groups: []uint64{7}}, Account{1000, 1001, []uint64{1001, 50, 10, 7}, "/home/alice"}, ""},
		{wire.User{Spec: "alice", NoImage: true, Groups: []uint64{7, 1001, 7}}, Account{1000, 1001, []uint64{1001, 7}, "/home/alice"}, ""},
		{wire.User{Spec: "alice", HasGID: true, GID: 3}, Account{1000, 3, []uint64{3, 50, 10}, "/home/alice"}, ""},
		{wire.User{Spec: "4711"}, Account{4711, 0, []uint64{0}, "/"}, ""},
		{wire.User{Spec: "alice:4711"}, Account{1000, 4711, []uint64{4711}, "/home/alice"}, ""},
		{wire.User{Spec: "4711", MustBeName: true}, Account{0, 0, []uint64{0}, "/"}, ""},
		{wire.User{Spec: "mallory"}, Account{}, "unable to find user mallory"},
		{wire.User{Spec: "alice:nobodies"}, Account{}, "unable to find group nobodies"},
		{wire.User{Spec: "4294967295"}, Account{}, "unable to find user 4294967295"},
		{wire.User{Spec: "4242", MustBeName: true}, Account{}, "unable to find user 4242"},
	} {
		got, err := LookUp(&c.user, files)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: error %v, want %s", c.user.Spec, err, c.err)
			}
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", c.user.Spec, err, d)
		}
	}
}

func FuzzLookUp(f *testing.F) {
	f.Add("alice:staff", passwd, group)
	f.Add("", "::::::\n", ":::")
	f.Fuzz(func(t *testing.T, user, p, g string) {
		a, err := LookUp(&wire.User{Spec: user}, func(path string) string {
			if path == "/etc/passwd" {
				return p
			}
			return g
		})
		if err == nil && (a.UID >= 1<<32-1 || a.GID >= 1<<32-1 || len(a.Groups) == 0 || a.Groups[0] != a.GID) {
			t.Errorf("impossible account %+v", a)
		}
		name, _, _ := strings.Cut(user, ":")
		if n, ok := parseID(name); err == nil && ok && a.UID != n {
			t.Errorf("user %q is %d", user, a.UID)
		}
	})
}

func TestClean(t *testing.T) {
	for path, want := range map[string]string{"": "/", "/": "/", "a": "/a", "/a/../b/./c/": "/b/c", "/../..": "/", "//x//y": "/x/y"} {
		if got := clean(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
	if within("/devices", "/dev") || !within("/dev", "/dev") || !within("/dev/../dev/x", "/dev") {
		t.Error("within")
	}
}

// TestBeneath has an image full of links that point outside.
func TestBeneath(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	root := filepath.Join(dir, "root")
	for _, d := range []string{outside, root, filepath.Join(root, "sub")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"abs": outside, "up": "../outside", "far": "../../../../../../" + outside, "sub/up": "../../outside", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, path := range []string{"/abs/x/y", "/up/x", "/far/x", "/sub/up/x", "/../x", "/sub/../../../x"} {
		// A link that leads nowhere inside may be an error; what it must not do is make something outside.
		if err := makeIn(fd, path, true); err != nil && !is(err, unix.ENOENT, unix.EEXIST, unix.ENOTDIR) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := makeIn(fd, "/loop/x", false); !is(err, unix.ELOOP) {
		t.Errorf("loop: %v", err)
	}
	if err := makeIn(fd, "/new/deep/file", true); err != nil {
		t.Error(err)
	}
	if info, err := os.Lstat(filepath.Join(root, "new/deep/file")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("file was not made: %v", err)
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 0 {
		t.Errorf("made outside of the root: %v, %v", entries, err)
	}
	entries, err = os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("made beside the root: %v, %v", entries, err)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"run": 0o755, "plain": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PATH=/nonexistent:" + dir}
	for arg, want := range map[string]string{
		"run":         dir + "/run",
		dir + "/run":  dir + "/run",
		"none":        `exec: "none": executable file not found in $PATH`,
		"plain":       `exec: "plain": permission denied`,
		dir:           fmt.Sprintf("exec: %q: is a directory", dir),
		dir + "/none": fmt.Sprintf("exec: %q: stat %s: no such file or directory", dir+"/none", dir+"/none"),
	} {
		got, err := lookPath([]string{arg}, env)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", arg, got, want)
		}
	}
	if _, err := lookPath(nil, env); err == nil {
		t.Error("no arguments")
	}
}

// TestReadSmall: an image may have anything where its accounts should be.
func TestReadSmall(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxAccounts+1); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, big, dir, dir + "/none", "/dev/zero"} {
		if got := readSmall(path); got != "" {
			t.Errorf("%s: %d bytes", path, len(got))
		}
	}
}
