package lun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"

	"proa.dev/kit/roottest"
)

// target is tgt's daemon with one target of three units, on two addresses of the loopback interface.
type target struct {
	t    *testing.T
	root string
}

const realIQN = "iqn.2026-11.dev.proa:test"

// newTarget starts tgtd and open-iscsi's daemon; the test ends them.
func newTarget(t *testing.T) *target {
	roottest.Need(t, "sessions and mounts")
	for _, p := range []string{"iscsiadm", "iscsid", "tgtd", "tgtadm", "mkfs.ext4", "mkfs.xfs"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(p + " is not installed")
		}
	}
	if out, err := exec.Command("modprobe", "iscsi_tcp").CombinedOutput(); err != nil {
		t.Skipf("this kernel has no iSCSI: %s", out)
	}
	g := &target{t: t, root: t.TempDir()}
	g.daemon("iscsid", "-f")
	g.daemon("tgtd", "-f", "--iscsi", "portal=127.0.0.1:3260,portal=127.0.0.2:3260")
	if !await(t.Context(), 20*time.Second, func() bool {
		return exec.Command("tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "sys").Run() == nil
	}) {
		t.Fatal("tgtd does not answer")
	}
	g.adm("--op", "new", "--mode", "target", "--tid", "1", "-T", realIQN)
	for i := 1; i <= 3; i++ {
		file := filepath.Join(g.root, fmt.Sprint("unit", i))
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, 400<<20); err != nil {
			t.Fatal(err)
		}
		g.adm("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", fmt.Sprint(i), "-b", file)
	}
	g.adm("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
	return g
}

func (g *target) daemon(name string, args ...string) {
	g.t.Helper()
	c := exec.Command(name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
}

func (g *target) adm(args ...string) {
	g.t.Helper()
	if out, err := exec.Command("tgtadm", append([]string{"--lld", "iscsi"}, args...)...).CombinedOutput(); err != nil {
		g.t.Fatalf("tgtadm %v: %v %s", args, err, out)
	}
}

// kubelet is the Disks of a new process at the same place.
func (g *target) kubelet() *Disks {
	g.t.Helper()
	s, err := New(Deps{Root: filepath.Join(g.root, "kubelet"), Secrets: secrets{}, Log: slog.New(slog.NewTextHandler(g.t.Output(), nil))})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { // what a test that failed has left
		for _, p := range []string{"a", "b", "c"} {
			s.Teardown(context.Background(), pod(p).UID)
		}
	})
	return s
}

func inline(p string, lun int32, change func(*core.ISCSIVolumeSource)) *Volume {
	src := &core.ISCSIVolumeSource{TargetPortal: "127.0.0.1", IQN: realIQN, Lun: lun, ISCSIInterface: "default"}
	if change != nil {
		change(src)
	}
	return &Volume{Pod: pod(p), Source: &core.VolumeSource{ISCSI: src}, Name: "data", ReadOnly: src.ReadOnly}
}

func (g *target) publish(s *Disks, v *Volume) Made {
	g.t.Helper()
	made, err := s.Publish(g.t.Context(), v)
	if err != nil {
		g.t.Fatal(err)
	}
	return made
}

func (g *target) teardown(s *Disks, names ...string) {
	g.t.Helper()
	for _, n := range names {
		if err := s.Teardown(g.t.Context(), pod(n).UID); err != nil {
			g.t.Fatal(err)
		}
	}
}

// clean checks that nothing is left of sessions, records, mounts and interfaces.
func (g *target) clean(s *Disks) {
	g.t.Helper()
	if se := s.sessions(realIQN); len(se) > 0 {
		g.t.Errorf("sessions left: %+v", se)
	}
	if r := names(s.records()); len(r) > 0 {
		g.t.Errorf("records left: %v", r)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), g.root+"/kubelet") {
		g.t.Errorf("mounts left (%v):\n%s", err, mounts)
	}
	for _, i := range names("/etc/iscsi/ifaces") {
		g.t.Errorf("interface left: %s", i)
	}
}

func TestRealFileSystem(t *testing.T) {
	g := newTarget(t)
	s := g.kubelet()
	made := g.publish(s, inline("a", 1, nil))
	if !made.Own {
		t.Error("the pod does not get the new disk's files")
	}
	if err := os.WriteFile(filepath.Join(made.Path, "word"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if made := g.publish(s, inline("a", 1, nil)); made.Own {
		t.Error("what was there is made again")
	}
	other := g.publish(s, inline("b", 1, nil))
	s = g.kubelet() // of another process
	if made := g.publish(s, inline("a", 1, nil)); made.Own {
		t.Error("what an earlier process made is made again")
	}
	g.teardown(s, "a")
	if b, err := os.ReadFile(filepath.Join(other.Path, "word")); string(b) != "kept" {
		t.Errorf("the other pod reads %q, %v", b, err)
	}
	second := g.publish(s, inline("c", 2, func(i *core.ISCSIVolumeSource) { i.FSType = "xfs" }))
	var st unix.Statfs_t
	if err := unix.Statfs(second.Path, &st); err != nil || st.Type != unix.XFS_SUPER_MAGIC {
		t.Errorf("the second disk has a file system %x, %v", st.Type, err)
	}
	if n := len(s.sessions(realIQN)); n != 1 {
		t.Errorf("%d sessions, want one", n)
	}
	g.teardown(s, "b")
	if err := os.WriteFile(filepath.Join(second.Path, "word"), make([]byte, 1<<20), 0o600); err != nil {
		t.Errorf("the second disk, after the first has gone: %v", err)
	}
	g.teardown(s, "c")
	g.clean(s)
	// Again, to read only: what was written is there, and stays.
	made = g.publish(s, inline("a", 1, func(i *core.ISCSIVolumeSource) { i.ReadOnly = true }))
	if b, err := os.ReadFile(filepath.Join(made.Path, "word")); string(b) != "kept" || made.Own {
		t.Errorf("read again: %q, %v; own %v", b, err, made.Own)
	}
	if err := os.WriteFile(filepath.Join(made.Path, "word"), []byte("lost"), 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("written: %v", err)
	}
	g.teardown(s, "a")
	_, err := s.Publish(t.Context(), inline("a", 3, func(i *core.ISCSIVolumeSource) { i.ReadOnly = true }))
	if err == nil || !strings.Contains(err.Error(), "cannot mount unformatted disk /dev/") {
		t.Errorf("an empty disk, to read only: %v", err)
	}
	g.teardown(s, "a")
	g.clean(s)
}

func TestRealBlock(t *testing.T) {
	g := newTarget(t)
	s := g.kubelet()
	v := blockVolume("a", "raw", 2, func(p *core.ISCSIPersistentVolumeSource) {
		p.TargetPortal, p.IQN, p.Portals = "127.0.0.1:3260", realIQN, []string{"127.0.0.2"}
	})
	made := g.publish(s, v)
	f, err := os.OpenFile(made.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("raw"), 4096)
	if end, seek := f.Seek(0, 2); err != nil || seek != nil || end != 400<<20 {
		t.Errorf("a device of %d bytes: %v, %v", end, err, seek)
	}
	f.Close()
	if n := len(s.sessions(realIQN)); n != 2 {
		t.Errorf("%d sessions, want two", n)
	}
	g.teardown(g.kubelet(), "a")
	g.clean(g.kubelet())
	s = g.kubelet()
	b := make([]byte, 3)
	if f, err = os.Open(g.publish(s, v).Path); err == nil {
		_, err = f.ReadAt(b, 4096)
		f.Close()
	}
	if string(b) != "raw" {
		t.Errorf("read again: %q, %v", b, err)
	}
	g.teardown(s, "a")
	g.clean(s)
}

func TestRealCHAP(t *testing.T) {
	g := newTarget(t)
	g.adm("--op", "new", "--mode", "account", "--user", "me", "--password", "ns/right-secret")
	g.adm("--op", "bind", "--mode", "account", "--tid", "1", "--user", "me")
	s := g.kubelet()
	with := func(name string) *Volume {
		return inline("a", 1, func(i *core.ISCSIVolumeSource) {
			i.SessionCHAPAuth, i.SecretRef = true, &core.LocalObjectReference{Name: name}
		})
	}
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := s.Publish(short, with("wrong-secret"))
	if err == nil || !strings.Contains(err.Error(), "iscsi: failed to attach disk") || strings.Contains(err.Error(), "ns/wrong") {
		t.Errorf("with the wrong password: %v", err)
	}
	g.teardown(s, "a")
	g.clean(s)
	g.publish(s, with("right-secret"))
	g.teardown(s, "a")
	g.clean(s)
}

func TestRealInitiator(t *testing.T) {
	g := newTarget(t)
	g.adm("--op", "unbind", "--mode", "target", "--tid", "1", "-I", "ALL")
	g.adm("--op", "bind", "--mode", "target", "--tid", "1", "-Q", "iqn.2026-11.dev.proa:me")
	s := g.kubelet()
	if _, err := s.Publish(t.Context(), inline("a", 1, nil)); err == nil {
		t.Error("the target lets everybody in")
	}
	g.teardown(s, "a")
	g.publish(s, inline("a", 1, func(i *core.ISCSIVolumeSource) { i.InitiatorName = new("iqn.2026-11.dev.proa:me") }))
	if se := s.sessions(realIQN); len(se) != 1 || se[0].iface != "127.0.0.1:3260:data" {
		t.Errorf("sessions: %+v", se)
	}
	g.teardown(g.kubelet(), "a")
	g.clean(s)
}

// TestRealTargetGone: a pod goes though its disk answers no more.
func TestRealTargetGone(t *testing.T) {
	g := newTarget(t)
	s := g.kubelet()
	made := g.publish(s, inline("a", 1, nil))
	if err := os.WriteFile(filepath.Join(made.Path, "word"), []byte("written"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.adm("--op", "unbind", "--mode", "target", "--tid", "1", "-I", "ALL")
	g.adm("--op", "delete", "--mode", "target", "--tid", "1", "--force")
	begin := time.Now()
	err := s.Teardown(t.Context(), pod("a").UID)
	t.Logf("took %v: %v", time.Since(begin), err)
	if err != nil {
		t.Error(err)
	}
	g.clean(s)
}
