package userns

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func pod(uid string) *core.Pod {
	no := false
	return &core.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}, Spec: core.PodSpec{HostUsers: &no}}
}

func (u *Users) must(t *testing.T, uid string) uint32 {
	t.Helper()
	ns, err := u.Of(pod(uid))
	if err != nil {
		t.Fatal(err)
	}
	if len(ns.Uids) != 1 || len(ns.Gids) != 1 || ns.Uids[0].Length != PerPod || ns.Gids[0].HostId != ns.Uids[0].HostId || ns.Uids[0].ContainerId != 0 {
		t.Fatalf("%v", ns)
	}
	return ns.Uids[0].HostId
}

func TestUsers(t *testing.T) {
	dir := t.TempDir()
	u := New(dir)
	u.etc = t.TempDir()
	if ns, err := u.Of(&core.Pod{}); ns != nil || err != nil {
		t.Errorf("a pod with the host's users: %v, %v", ns, err)
	}
	a, b, again := u.must(t, "a"), u.must(t, "b"), u.must(t, "a")
	if a < PerPod || a%PerPod != 0 || b < PerPod || b%PerPod != 0 || a == b || again != a {
		t.Errorf("ranges from %d, %d, %d", a, b, again)
	}
	// Another life of the kubelet knows them.
	etc := u.etc
	u = New(dir)
	u.etc = etc
	if c, still := u.must(t, "c"), u.must(t, "b"); still != b || c == a || c == b {
		t.Errorf("after a restart: b from %d, which was %d, c from %d", still, b, c)
	}
	if err := errors.Join(u.Release("a"), u.Release("a"), u.Release("never")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a", file)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the release: %v", err)
	}
}

func TestFull(t *testing.T) {
	u := New(t.TempDir())
	u.etc = t.TempDir()
	write(t, u.etc, "passwd", "root:x:0:0::/:/bin/sh\nkubelet:x:990:990::/:/bin/false\n")
	write(t, u.etc, "subuid", "other:1:5\nkubelet:131072:131072\n")
	write(t, u.etc, "subgid", "kubelet:131072:131072\n")
	a, b := u.must(t, "a"), u.must(t, "b")
	if min(a, b) != 131072 || max(a, b) != 196608 {
		t.Errorf("ranges from %d, %d", a, b)
	}
	if _, err := u.Of(pod("c")); err == nil || !strings.Contains(err.Error(), "could not find an empty slot") {
		t.Errorf("one too many: %v", err)
	}
	if err := u.Release("a"); err != nil {
		t.Error(err)
	}
	if d := u.must(t, "d"); d != a {
		t.Errorf("the only range that is free again is from %d: got %d", a, d)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRangesRefused(t *testing.T) {
	for sub, want := range map[string]string{
		"kubelet:65537:65536\n":                       "is not a multiple",
		"kubelet:0:65536\n":                           "must be greater or equal",
		"kubelet:65536:7\n":                           "length 7 is not a multiple",
		"kubelet:65536:x\n":                           "how many numbers",
		"kubelet:x:65536\n":                           "first number",
		"kubelet:4294901760:131072\n":                 "more than there are",
		"kubelet:65536:65536\nkubelet:131072:65536\n": "want one range",
	} {
		etc := t.TempDir()
		write(t, etc, "passwd", "kubelet:x:990:990::/:/bin/false\n")
		write(t, etc, "subuid", sub)
		write(t, etc, "subgid", sub)
		if _, _, err := ranges(etc); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", sub, err)
		}
	}
	etc := t.TempDir()
	write(t, etc, "passwd", "kubelet:x:990:990::/:/bin/false\n")
	write(t, etc, "subuid", "kubelet:65536:65536\n")
	if _, _, err := ranges(etc); err == nil {
		t.Error("users without groups were taken")
	}
}

func TestKeptBroken(t *testing.T) {
	const good = `{"uidMappings":[{"hostId":131072,"containerId":0,"length":65536}],"gidMappings":[{"hostId":131072,"containerId":0,"length":65536}]}`
	for _, text := range []string{"", "{}", strings.Replace(good, `"containerId":0`, `"containerId":1`, 1), strings.ReplaceAll(good, "131072", "131073"), strings.ReplaceAll(good, "131072", "0")} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "x"), file, text)
		u := New(dir)
		u.etc = t.TempDir()
		if _, err := u.Of(pod("y")); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
