package cri_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestAdopt stops the runtime while containers run and one ends, and starts another on the same state: as after a kill,
// because a runtime writes nothing when it ends.
func TestAdopt(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("survivor"))
	keeps := h.run(pod, ctr("keeps", "lines"))
	ends := h.run(pod, ctr("ends", "polite"))
	created := h.create(pod, nil, ctr("created", "echo", "late"))
	await(t, "ready", func() bool { return logged(t, h.status(ends)) == "ready\n" })
	before := h.status(keeps)
	endsPID := pidOf(t, ends, "polite")
	h.stop()
	if err := syscall.Kill(endsPID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.start()
	if s := h.awaitExit(ends); s.ExitCode != 7 {
		t.Errorf("exit code %d of a container that ended while nobody watched", s.ExitCode)
	}
	after := h.status(keeps)
	if after.State != runtimeapi.ContainerState_CONTAINER_RUNNING || after.StartedAt != before.StartedAt {
		t.Errorf("before %v\nafter %v", before, after)
	}
	if r := h.exec(keeps, "box", "echo", "still here"); string(r.Stdout) != "still here\n" {
		t.Errorf("exec after adoption: %v", r)
	}
	size := func() int64 { info, _ := os.Stat(after.LogPath); return info.Size() }
	from := size()
	await(t, "log to grow", func() bool { return size() > from })
	if _, err := h.rt.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: created}); err != nil {
		t.Fatal(err)
	}
	if s := h.awaitExit(created); logged(t, s) != "late\n" {
		t.Errorf("logged %q", logged(t, s))
	}
	// The second time it is the keeper that dies.
	h.stop()
	killKeeper(t, h, pod)
	h.start()
	if s := h.awaitExit(keeps); s.Reason != "Unknown" || s.ExitCode != 255 {
		t.Errorf("lost container: %v", s)
	}
	ps, err := h.rt.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod})
	if err != nil || ps.Status.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("lost pod: %v, %v", ps, err)
	}
}

// TestKeeperDies ends a keeper under a watching runtime.
func TestKeeperDies(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("victim"))
	id := h.run(pod, ctr("main", "sleep", "1h"))
	killKeeper(t, h, pod)
	if s := h.awaitExit(id); s.Reason != "Unknown" {
		t.Errorf("got %v", s)
	}
}

// TestDeafKeeper restarts a runtime beside a keeper that cannot be reached: it is ended, and nothing of it stays.
func TestDeafKeeper(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("deaf"))
	h.run(pod, ctr("main", "sleep", "1h"))
	dir := filepath.Join(h.deps.Run, "keepers", pod)
	pid, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	h.stop()
	if err := os.Remove(filepath.Join(dir, "sock")); err != nil {
		t.Fatal(err)
	}
	h.start()
	await(t, "the keeper to end", func() bool {
		command, _ := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/cmdline")
		return len(command) == 0
	})
	if _, err := h.rt.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		t.Fatal(err)
	}
	h.leftovers()
}

// TestSweep lets a runtime find what a crash in the middle leaves.
func TestSweep(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("half"))
	h.stop()
	path := filepath.Join(h.deps.Root, "sandboxes", pod, "record.2.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), `"ready"`, `"making"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"containers/none", "containers/broken", "sandboxes/none"} {
		if err := os.MkdirAll(filepath.Join(h.deps.Root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(h.deps.Root, "containers/broken/record.1.json"), []byte(`{"ID": "br`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.images.Prepare(t.Context(), "lost", "box"); err != nil {
		t.Fatal(err)
	}
	h.start()
	list, err := h.rt.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("pods %v, %v", list, err)
	}
	h.leftovers()
}

func killKeeper(t *testing.T, h *host, pod string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(h.deps.Run, "keepers", pod, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "keeper to be gone", func() bool {
		stat, err := os.ReadFile("/proc/" + string(data) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

// pidOf finds the test program by its first argument.
func pidOf(t *testing.T, id, arg string) int {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		groups, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "cgroup"))
		if cmd, err := os.ReadFile(p); err == nil && string(cmd) == "box\x00"+arg+"\x00" && strings.Contains(string(groups), id) {
			pid, err := strconv.Atoi(strings.Split(p, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("no process box %s", arg)
	return 0
}
