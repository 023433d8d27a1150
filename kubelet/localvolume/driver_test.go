package localvolume

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control/controltest"
	kinds "proa.dev/kinds/storage"
	"proa.dev/kit/roottest"
	"proa.dev/kubelet/plugin"
	"proa.dev/object"
)

type kubelet struct{ info chan plugin.Info }

func (k kubelet) Register(_ context.Context, i plugin.Info) error {
	k.info <- i
	return nil
}

func newDriver(t *testing.T, dir string) *Driver {
	t.Helper()
	api := controltest.New(t)
	if _, err := client.Create(t.Context(), api.Client(), &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}); err != nil {
		t.Fatal(err)
	}
	d, err := New(Deps{Node: "n1", Dir: dir, Socket: filepath.Join(t.TempDir(), "csi.sock"), Client: api.Client(), View: api.View(), Kubelet: kubelet{make(chan plugin.Info, 1)}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mode() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

func TestDirectoryComesWithTheFirstPod(t *testing.T) {
	roottest.Need(t, "binds directories")
	d := newDriver(t, t.TempDir())
	target := filepath.Join(t.TempDir(), "a", "mount")
	q := &csi.NodePublishVolumeRequest{VolumeId: "pvc-1", TargetPath: target, VolumeCapability: mode()}
	if _, err := d.NodePublishVolume(t.Context(), q); status.Code(err) != codes.NotFound {
		t.Fatalf("a volume that nobody made: %v", err)
	}
	q.VolumeContext = map[string]string{kinds.LocalSize: "1048576"}
	for range 2 {
		if _, err := d.NodePublishVolume(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) }) // when the test fails half-way
	if err := os.WriteFile(filepath.Join(target, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if i, err := os.Stat(target); err != nil || i.Mode().Perm() != 0o777 {
		t.Errorf("%v, %v", i, err)
	}
	read := filepath.Join(t.TempDir(), "mount")
	q.TargetPath, q.Readonly = read, true
	if _, err := d.NodePublishVolume(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(read, "g"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing to a volume that may only be read: %v", err)
	}
	one := mode()
	one.AccessMode.Mode = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	if _, err := d.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{VolumeId: "pvc-1", TargetPath: target + "2", VolumeCapability: one}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("for one pod only, while two have it: %v", err)
	}
	for _, path := range []string{target, read, read} {
		if _, err := d.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "pvc-1", TargetPath: path}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(d.Dir, "pvc-1", "f")); err != nil || string(text) != "x" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

func TestRemovesWhatItIsAskedTo(t *testing.T) {
	d := newDriver(t, t.TempDir())
	if _, err := d.store.make("pvc-1", 1, false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir, "pvc-1", "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for id := range map[string]bool{"../x": true, ".": true, "a/b": true, "": true} {
		if err := d.store.remove(id); err != nil {
			t.Errorf("removing %q: %v", id, err)
		}
	}
	look := func() *core.Node {
		n, _ := client.Lookup[core.Node](d.View, object.Key{Name: "n1"})
		return n
	}
	if err := d.annotate(t.Context(), kinds.LocalRemove, "pvc-0,pvc-1"); err != nil {
		t.Fatal(err)
	}
	d.tidy(t.Context(), look())
	if got := kinds.Handles(look(), kinds.LocalRemoved); !slices.Equal(got, []string{"pvc-0", "pvc-1"}) {
		t.Errorf("removed are %v", got)
	}
	if left, err := os.ReadDir(d.Dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := d.annotate(t.Context(), kinds.LocalRemove, ""); err != nil {
		t.Fatal(err)
	}
	d.tidy(t.Context(), look())
	if _, ok := look().Annotations[kinds.LocalRemoved]; ok {
		t.Error("the answer outlives the order")
	}
}

func TestServesItsSocket(t *testing.T) {
	d := newDriver(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	info := <-d.Kubelet.(kubelet).info
	if info.Name != Name || info.Endpoint != d.Socket {
		t.Errorf("registered as %+v", info)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// TestQuota holds a volume to its size on a small ext4 of its own.
// TestQuota runs on each file system that has project quotas.
func TestQuota(t *testing.T) {
	roottest.Need(t, "mounts a file system")
	for kind, options := range map[string][]string{"ext4": {"-q", "-O", "quota,project", "-E", "quotatype=prjquota"}, "xfs": {"-q"}} {
		t.Run(kind, func(t *testing.T) { testQuota(t, mountImage(t, kind, options)) })
	}
}

// mountImage makes a file system in a file and mounts it with project quotas.
func mountImage(t *testing.T, kind string, options []string) (dir string) {
	t.Helper()
	if _, err := exec.LookPath("mkfs." + kind); err != nil {
		t.Skipf("mkfs.%s is not installed", kind)
	}
	image, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 320<<20); err != nil { // xfs is not made smaller than 300 MiB
		t.Fatal(err)
	}
	run := func(name string, args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		return string(out), err
	}
	if out, err := run("mkfs."+kind, append(options, image)...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := run("mount", "-o", "loop,prjquota", image, dir); err != nil {
		t.Skipf("this kernel mounts no %s with project quotas: %s", kind, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// asContainer calls f on a thread without CAP_SYS_RESOURCE, as containers are: with it ext4 lets a process exceed its quotas.
func asContainer(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		err := unix.Capget(&head, &caps[0])
		caps[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
		if err == nil {
			err = unix.Capset(&head, &caps[0])
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func testQuota(t *testing.T, dir string) {
	d := newDriver(t, filepath.Join(dir, "volumes"))
	if d.store.quota() != "project" {
		t.Fatalf("quotas: %s", d.store.quota())
	}
	if _, err := d.store.make("pvc-1", 4<<20, true); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(d.Dir, "pvc-1", "f")
	write := func() error { return os.WriteFile(file, bytes.Repeat([]byte("x"), 5<<20), 0o600) }
	if err := asContainer(write); !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("writing more than the volume has: %v", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(file), &st); err != nil || int64(st.Blocks)*st.Bsize != 4<<20 {
		t.Errorf("the volume has %d bytes, %v", int64(st.Blocks)*st.Bsize, err)
	}
	if _, err := d.store.grow("pvc-1", 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := asContainer(write); err != nil {
		t.Errorf("after growing: %v", err)
	}
	if _, err := d.store.make("pvc-2", 1<<40, true); !errors.Is(err, errTooSmall) {
		t.Errorf("a volume larger than the disk: %v", err)
	}
	if err := d.store.remove("pvc-1"); err != nil {
		t.Fatal(err)
	}
	if r, err := d.store.make("pvc-3", 1<<20, true); err != nil || r.Project != firstProject {
		t.Errorf("project %v, %v", r, err)
	}
}
