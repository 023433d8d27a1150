package ocitest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/cgroup"
	"proa.dev/runtime/keeper"
	_ "proa.dev/runtime/keeper/supervise" // is in the binary that tests build: a change of it makes cached results stale
	"proa.dev/runtime/keeper/wire"
)

// prebuilt names, in the environment, a directory with the commands that tests would compile, for machines without Go.
const prebuilt = "PROA_TEST_BIN"

// build compiles one of this module's commands into a directory that lives as long as the test process.
func build(t testing.TB, pkg string) string {
	t.Helper()
	if dir := os.Getenv(prebuilt); dir != "" {
		return filepath.Join(dir, filepath.Base(pkg))
	}
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if p, ok := builds.done[pkg]; ok {
		return p
	}
	out := filepath.Join(os.TempDir(), fmt.Sprintf("proa-test-%d-%s", os.Getpid(), filepath.Base(pkg)))
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	builds.done[pkg] = out
	return out
}

// builds remembers what was compiled in this test process.
var builds = struct {
	mu   sync.Mutex // guards done
	done map[string]string
}{done: map[string]string{}}

// CleanUp removes what tests compiled. A TestMain calls it after the tests.
func CleanUp() {
	builds.mu.Lock()
	defer builds.mu.Unlock()
	for _, p := range builds.done {
		os.Remove(p)
	}
}

// KeeperPath returns the path of a freshly built keeper.
func KeeperPath(t testing.TB) string { return build(t, "proa.dev/cmd/proa-keeper") }

// RootFS makes a directory with the box under all its names, a passwd and a group file, and some places to mount over.
func RootFS(t testing.TB) string {
	t.Helper()
	box := build(t, "proa.dev/runtime/oci/ocitest/box")
	root := t.TempDir()
	for _, dir := range []string{"bin", "etc", "tmp", "data", "proc", "sys", "dev", "home/alice"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	must(t, os.Chmod(filepath.Join(root, "tmp"), 0o1777))
	must(t, os.Chmod(root, 0o755))
	data, err := os.ReadFile(box)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(root, "bin/box"), data, 0o755))
	must(t, os.WriteFile(filepath.Join(root, "bin/plain"), []byte("no program"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(
		"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:Alice:/home/alice:/bin/sh\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "etc/group"), []byte(
		"root:x:0:\nstaff:x:50:bob,alice\nalice:x:1001:\nwheel:x:10:root\n"), 0o644))
	return root
}

// Pod is a keeper with a cgroup, for tests.
type Pod struct {
	Keeper *keeper.Keeper
	Tree   *cgroup.Tree
	Dir    string
	States chan wire.State

	path string
}

// NewPod starts a keeper in namespaces of its own, and ends it after the test.
func NewPod(t testing.TB, setup wire.Setup) *Pod {
	t.Helper()
	roottest.Need(t, "namespaces and cgroups")
	bin, err := keeper.OpenBinary(KeeperPath(t))
	must(t, err)
	t.Cleanup(func() { bin.Close() })
	tree, err := cgroup.Open()
	must(t, err)
	p := &Pod{Tree: tree, Dir: t.TempDir(), States: make(chan wire.State, 64), path: fmt.Sprintf("/proa-test-%d-%d", os.Getpid(), time.Now().UnixNano())}
	keepers, err := tree.Create(p.path + "/keeper")
	must(t, err)
	setup.ID, setup.Dir, setup.Loopback = "pod", filepath.Join(p.Dir, "keeper"), true
	k, err := bin.Spawn(t.Context(), keeper.Spec{Setup: setup, CgroupDir: keepers.Dir(), CgroupProcs: keepers.Procs()},
		func(int) error { return nil })
	must(t, err)
	p.Keeper = k
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = k.Watch(context.Background(), func(s wire.State) { p.States <- s }, nil)
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := k.Stop(ctx); err != nil {
			t.Errorf("stop keeper: %v", err)
		}
		<-ended
		if err := tree.At(p.path).Remove(); err != nil {
			t.Errorf("remove cgroup: %v", err)
		}
	})
	return p
}

// Group makes a cgroup in the pod.
func (p *Pod) Group(t testing.TB, name string) *cgroup.Group {
	t.Helper()
	g, err := p.Tree.Create(p.path + "/" + name)
	must(t, err)
	return g
}

// AwaitExit returns the state of a container once it has ended.
func (p *Pod) AwaitExit(t testing.TB, id string) wire.State {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		select {
		case s := <-p.States:
			if s.ID == id && s.Phase == wire.PhaseExited {
				return s
			}
		case <-deadline:
			t.Fatalf("container %s did not end", id)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
