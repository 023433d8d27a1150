package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"proa.dev/kit/roottest"
)

// newGroup makes a group on this host and removes it after the test.
func newGroup(t *testing.T) (*Tree, *Group) {
	t.Helper()
	roottest.Need(t, "cgroups")
	tree, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	g, err := tree.Create(fmt.Sprintf("/proa-cgroup-test-%d/%s", os.Getpid(), t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Kill(); err != nil {
			t.Error(err)
		}
		if err := errors.Join(g.Remove(), tree.At(filepath.Dir(g.Path())).Remove()); err != nil {
			t.Error(err)
		}
	})
	return tree, g
}

// spawn runs a shell line in a group.
func spawn(t *testing.T, g *Group, line string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", line)
	if g.Dir() != "" {
		dir, err := os.Open(g.Dir())
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range g.Procs() {
		if err := os.WriteFile(f, fmt.Append(nil, cmd.Process.Pid), 0); err != nil {
			t.Fatal(err)
		}
	}
	return cmd
}

func TestLimitsAndFigures(t *testing.T) {
	_, g := newGroup(t)
	// The kernel counts memory in batches: the program takes some, and says when.
	ready, begin := filepath.Join(t.TempDir(), "ready"), filepath.Join(t.TempDir(), "begin")
	cmd := spawn(t, g, "until [ -e "+begin+" ]; do sleep 0.01; done; x=$(head -c 1000000 /dev/zero | tr '\\0' x); : > "+ready+"; while :; do sleep 100; done")
	if err := os.WriteFile(begin, nil, 0o600); err != nil { // it is in the group now, which on v1 comes after its start
		t.Fatal(err)
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the program did not get ready")
		}
	}
	for _, mem := range []int64{64 << 20, 32 << 20, 128 << 20} {
		if err := g.Apply(Limits{Memory: mem, MemorySwap: mem, CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, Pids: 50}); err != nil {
			t.Fatal(err)
		}
		if s := g.Stats(); s.Limit != uint64(mem) || s.Memory == 0 || s.WorkingSet == 0 || s.Pids == 0 {
			t.Errorf("figures %+v with limit %d", s, mem)
		}
	}
	if err := g.Apply(Limits{Memory: -1, CPUQuota: -1}); err != nil {
		t.Fatal(err)
	}
	if s := g.Stats(); s.Limit != 0 {
		t.Errorf("limit %d, want none", s.Limit)
	}
	if pids, err := g.Pids(); err != nil || !slices.Contains(pids, cmd.Process.Pid) {
		t.Errorf("processes %v, %v", pids, err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	for range 2 { // a second time there is nothing to do
		if err := errors.Join(g.Kill(), g.Remove()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRemoveWaits: a group is removed once its dying processes are gone, with the groups that were made in it.
func TestRemoveWaits(t *testing.T) {
	tree, g := newGroup(t)
	inner, err := tree.Create(g.Path() + "/inner/most")
	if err != nil {
		t.Fatal(err)
	}
	cmd := spawn(t, inner, "exec sleep 100")
	go func() {
		time.Sleep(20 * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
	}()
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
}

// TestDeviceFilter attaches the program that v2 hosts use. The kernel takes it in the v2 tree of hybrid hosts as well.
func TestDeviceFilter(t *testing.T) {
	_, g := newGroup(t)
	if g.Dir() == "" {
		t.Skip("this host has no v2 tree")
	}
	rules := []DeviceRule{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Major: -1, Minor: -1, Access: "m"},
		{Allow: true, Type: "c", Major: 1, Minor: 3, Access: "rwm"},
		{Allow: true, Type: "c", Major: 1, Minor: 5, Access: "r"},
		{Allow: true, Type: "c", Major: 136, Minor: -1, Access: "rwm"},
	}
	if err := g.filterDevices(rules); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for line, want := range map[string]int{
		"echo > /dev/null":              0,
		"head -c1 /dev/zero >/dev/null": 0,
		"echo > /dev/zero":              1,
		"head -c1 /dev/urandom":         1,
		"mknod " + dir + "/c c 1 9":     0,
		"mknod " + dir + "/b b 7 0":     1,
	} {
		cmd := spawn(t, g, "("+line+") 2>/dev/null || exit 1")
		err := cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s: code %d (%v), want %d", line, got, err, want)
		}
	}
	if err := g.filterDevices([]DeviceRule{{Allow: true, Access: "rwm"}}); err != nil {
		t.Errorf("allow all: %v", err)
	}
}

// TestV2Files checks what is written on a v2 host, in a directory that stands in for one, because a host has only one mode.
func TestV2Files(t *testing.T) {
	root := t.TempDir()
	tree := &Tree{unified: root, controllers: []string{"cpu", "memory"}}
	g := tree.At("/pod/c")
	if err := os.MkdirAll(g.Dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	files := []string{"cpu.weight", "cpu.max", "memory.max", "memory.swap.max", "pids.max", "cpuset.cpus", "memory.oom.group"}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(g.Dir(), f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := g.Apply(Limits{Memory: 1 << 20, MemorySwap: 1 << 20, CPUShares: 1024, CPUQuota: 1000, Pids: -1, Cpus: "0-1",
		Unified: map[string]string{"memory.oom.group": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(g.Dir(), f))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f+"="+string(data))
	}
	want := "cpu.weight=39 cpu.max=1000 100000 memory.max=1048576 memory.swap.max=0 pids.max=max cpuset.cpus=0-1 memory.oom.group=1"
	if g := strings.Join(got, " "); g != want {
		t.Errorf("\n got %s\nwant %s", g, want)
	}
	for _, bad := range []string{"../cpu.max", "cgroup.procs"} {
		if err := g.Apply(Limits{Unified: map[string]string{bad: "1"}}); err == nil {
			t.Errorf("file %q was accepted", bad)
		}
	}
	if f := g.OOMCounter(); filepath.Base(f) != "memory.events" {
		t.Errorf("counter %s", f)
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[int64]int64{0: 1, 2: 1, 1024: 39, 262144: 10000, 1 << 40: 10000} {
		if got := Weight(shares); got != want {
			t.Errorf("%d shares: weight %d, want %d", shares, got, want)
		}
	}
}
