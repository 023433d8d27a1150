package volume

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kit/roottest"
)

// exports starts the kernel's NFS server and exports a directory to this machine. The test stops it.
func exports(t *testing.T) (dir string, gone func()) {
	roottest.Need(t, "a server of the kernel's, and mounts")
	for _, p := range []string{"rpc.nfsd", "rpc.mountd", "exportfs", "mount.nfs"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(p + " is not installed")
		}
	}
	if out, err := exec.Command("modprobe", "nfsd").CombinedOutput(); err != nil {
		t.Skipf("this kernel has no NFS server: %s", out)
	}
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v %s", name, args, err, out)
		}
	}
	dir = t.TempDir()
	if !isMountPoint("/proc/fs/nfsd") {
		run("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
	}
	for _, f := range []string{"nfsv4leasetime", "nfsv4gracetime"} { // a server that begins waits so long for clients of its last life
		if err := os.WriteFile("/proc/fs/nfsd/"+f, []byte("10"), 0); err != nil {
			t.Fatal(err)
		}
	}
	mountd := exec.Command("rpc.mountd", "-F", "-N", "3")
	if err := mountd.Start(); err != nil {
		t.Fatal(err)
	}
	run("exportfs", "-o", "rw,no_root_squash,insecure,no_subtree_check,fsid=7", "127.0.0.1:"+dir)
	run("rpc.nfsd", "-N", "3", "-H", "127.0.0.1", "4")
	gone = func() { exec.Command("rpc.nfsd", "0").Run() }
	t.Cleanup(func() {
		gone()
		exec.Command("exportfs", "-u", "127.0.0.1:"+dir).Run()
		mountd.Process.Kill()
		mountd.Wait()
	})
	return dir, gone
}

// TestRealNFS: exports that a pod and a PersistentVolume name, with the options of the latter; and a pod goes though its server is gone.
func TestRealNFS(t *testing.T) {
	dir, gone := exports(t)
	v, src := setup(t)
	src.claims["c"] = &core.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{UID: "cu"}}
	src.claims["c"].Spec.VolumeName, src.claims["c"].Status.Phase = "pv", core.ClaimBound
	pv := &core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}}
	pv.Spec.ClaimRef = &core.ObjectReference{UID: "cu"}
	pv.Spec.NFS, pv.Spec.MountOptions = &core.NFSVolumeSource{Server: "127.0.0.1", Path: dir}, []string{"noatime", "vers=4.1", "timeo=10", "retrans=1"}
	src.volumes["pv"] = pv
	p := podWith(
		core.Volume{Name: "a", VolumeSource: core.VolumeSource{NFS: &core.NFSVolumeSource{Server: "127.0.0.1", Path: dir, ReadOnly: true}}},
		core.Volume{Name: "b", VolumeSource: core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}},
	)
	if _, err := v.Sync(t.Context(), p, time.Now()); err != nil {
		t.Fatal(err)
	}
	path := func(i int) string {
		at, _, err := v.Path(p, &p.Spec.Volumes[i])
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	if err := os.WriteFile(filepath.Join(path(1), "word"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "word")); string(b) != "x" {
		t.Errorf("the server has %q, %v", b, err)
	}
	if err := os.WriteFile(filepath.Join(path(0), "word"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("written to what may only be read: %v", err)
	}
	if got, err := exec.Command("findmnt", "-no", "OPTIONS", path(1)).Output(); err != nil || !strings.Contains(string(got), "noatime") || !strings.Contains(string(got), "vers=4.1") {
		t.Errorf("mounted with %s, %v", got, err)
	}
	if err := v.Teardown(t.Context(), p.UID, true); err != nil {
		t.Error(err)
	}
	if left, err := mountsBeneath(v.Node.Root); err != nil || len(left) > 0 {
		t.Errorf("mounts left: %v, %v", left, err)
	}
	wrong := podWith(core.Volume{Name: "a", VolumeSource: core.VolumeSource{NFS: &core.NFSVolumeSource{Server: "127.0.0.1", Path: dir + "/not"}}})
	_, err := v.Sync(t.Context(), wrong, time.Now())
	if err == nil || !strings.Contains(err.Error(), `MountVolume.SetUp failed for volume "a" : mount failed: exit status 32`) {
		t.Errorf("an export that is not there: %v", err)
	}
	if _, err := v.Sync(t.Context(), p, time.Now()); err != nil {
		t.Fatal(err)
	}
	gone()
	done := make(chan error, 1)
	go func() { // it would hang with the server, not with ctx
		_, err := v.Sync(context.Background(), p, time.Now())
		done <- errors.Join(err, v.Teardown(context.Background(), p.UID, true))
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a pod hangs with its server")
	}
	if left, err := mountsBeneath(v.Node.Root); err != nil || len(left) > 0 {
		t.Errorf("mounts left: %v, %v", left, err)
	}
}
