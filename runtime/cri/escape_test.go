package cri_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestEscapes has one attack for each class of known escapes, as the host's root and in a user namespace. The kubelet's own, by
// subPaths and runAsNonRoot, and those of archives are where that code is.
func TestEscapes(t *testing.T) {
	for _, a := range []struct {
		name   string
		attack func(t *testing.T, h *host, config *runtimeapi.PodSandboxConfig)
	}{
		{"write over the runtime", escapeBinary}, {"mount through links", escapeMounts}, {"mount through a link that moves", escapeRace},
		{"proc that is a link", escapeProc}, {"devices", escapeDevices}, {"descriptors and working directories", escapeDescriptors},
		{"log that is a link", escapeLog}, {"accounts", escapeAccounts}, {"environment and annotations", escapeEnvironment},
		{"fork flood", escapeForks},
	} {
		for _, mapped := range []bool{false, true} {
			name := a.name + ", host users"
			if mapped {
				name = a.name + ", own users"
			}
			t.Run(name, func(t *testing.T) {
				h := newHost(t)
				config := h.pod("attacker")
				if mapped {
					config = h.mappedPod("attacker")
				}
				a.attack(t, h, config)
			})
		}
	}
}

// secret makes a file on the host that no container may come to see or change.
func secret(t *testing.T) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte("secret\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		entries, err := os.ReadDir(dir)
		text, rerr := os.ReadFile(path)
		if err != nil || rerr != nil || len(entries) != 1 || string(text) != "secret\n" {
			t.Errorf("the host's directory was changed: %v, %q, %v, %v", entries, text, err, rerr)
		}
	})
	return dir, path
}

// mighty gives a container all that can be given without the word privileged.
func mighty(c *runtimeapi.ContainerConfig) *runtimeapi.ContainerConfig {
	sc := c.Linux.SecurityContext
	sc.Capabilities, sc.Seccomp, sc.NoNewPrivs = &runtimeapi.Capability{AddCapabilities: []string{"ALL"}}, nil, false
	return c
}

// try starts a container that may be refused, and returns what it wrote, or why not.
func (h *host) try(pod string, c *runtimeapi.ContainerConfig) (out string, ran bool) {
	h.t.Helper()
	resp, err := h.rt.CreateContainer(h.t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
	if err != nil {
		return err.Error(), false
	}
	if _, err := h.rt.StartContainer(h.t.Context(), &runtimeapi.StartContainerRequest{ContainerId: resp.ContainerId}); err != nil {
		return err.Error(), false
	}
	return logged(h.t, h.awaitExit(resp.ContainerId)), true
}

// escapeBinary: CVE-2019-5736. Stages of execs come by in the container's own PID namespace.
func escapeBinary(t *testing.T, h *host, config *runtimeapi.PodSandboxConfig) {
	config.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD // with the pause process in it as well
	pod := h.runPod(config)
	binary := func() (sums [][32]byte) {
		procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, p := range procs {
			if text, _ := os.ReadFile(p); strings.HasPrefix(string(text), "proa-keeper\x00"+pod) {
				data, err := os.ReadFile(filepath.Join(filepath.Dir(p), "exe"))
				if err != nil {
					t.Fatal(err)
				}
				sums = append(sums, sha256.Sum256(data))
			}
		}
		return sums
	}
	before := binary()
	if len(before) != 1 {
		t.Fatalf("%d keepers", len(before))
	}
	c := mighty(ctr("evil", "overwrite", "1h"))
	c.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	id := h.run(pod, c)
	await(t, "the attacker to be ready", func() bool { return strings.Contains(logged(t, h.status(id)), "ready\n") })
	for range 10 {
		h.exec(id, "box", "echo")
	}
	if _, err := h.rt.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
	if out := logged(t, h.awaitExit(id)); strings.Contains(out, "wrote") {
		t.Errorf("the attacker says: %s", out)
	}
	// A program whose interpreter is the runtime itself.
	script := filepath.Join(h.images.layer, "bin/self")
	if err := os.WriteFile(script, []byte("#!/proc/self/exe\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	self := mighty(ctr("self"))
	self.Command = []string{"/bin/self"}
	if out, ran := h.try(pod, self); ran && out != "" {
		t.Errorf("the runtime as an interpreter: %s", out)
	}
	if after := binary(); len(after) != 1 || after[0] != before[0] {
		t.Error("the keeper's program has changed")
	}
}

// escapeMounts: volumes at paths that the image made links to the host's.
func escapeMounts(t *testing.T, h *host, config *runtimeapi.PodSandboxConfig) {
	dir, path := secret(t)
	for link, to := range map[string]string{"data/up": "../../../../../../../.." + dir, "data/abs": dir, "data/root": "/", "data/proc": "/proc/1/root" + dir} {
		if err := os.Symlink(to, filepath.Join(h.images.layer, link)); err != nil {
			t.Fatal(err)
		}
	}
	pod := h.runPod(config)
	vol := t.TempDir()
	for i, target := range []string{"/data/up", "/data/up/new", "/data/abs/a/b", "/data/root/x", "/data/proc/y", "/../../../../.." + dir + "/z", "/data/up/secret"} {
		c := mighty(ctr(fmt.Sprint("c", i), "cat", path))
		c.Mounts = []*runtimeapi.Mount{{ContainerPath: target, HostPath: vol}}
		if out, _ := h.try(pod, c); strings.Contains(out, "secret\n") && !strings.Contains(out, "no such file") {
			t.Errorf("%s: %s", target, out)
		}
	}
}

// escapeRace: CVE-2021-30465. One container swaps a directory of a shared volume with a link while others are started that mount in it.
func escapeRace(t *testing.T, h *host, config *runtimeapi.PodSandboxConfig) {
	dir, path := secret(t)
	pod := h.runPod(config)
	shared, vol := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(shared, "a"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(strings.Repeat("../", 20)+dir, filepath.Join(shared, "b")); err != nil {
		t.Fatal(err)
	}
	users := config.Linux.SecurityContext.NamespaceOptions.UsernsOptions
	volume := func(c *runtimeapi.ContainerConfig, at, from string) *runtimeapi.ContainerConfig {
		c.Mounts = append(c.Mounts, &runtimeapi.Mount{ContainerPath: at, HostPath: from, UidMappings: users.GetUids(), GidMappings: users.GetGids()})
		return c
	}
	swapper := h.run(pod, volume(mighty(ctr("swap", "swap", "/s/a", "/s/b")), "/s", shared))
	await(t, "the swapper to be ready", func() bool { return logged(t, h.status(swapper)) == "ready\n" })
	for i := range 12 {
		c := volume(volume(mighty(ctr(fmt.Sprint("c", i), "cat", path, "/s/a/secret", "/s/b/secret")), "/s", shared), "/s/a/in", vol)
		if out, ran := h.try(pod, c); ran && strings.Contains(out, "secret\n") && !strings.Contains(out, "no such file") && !strings.Contains(out, "too many levels") {
			t.Errorf("start %d: %s", i, out)
		}
	}
	// What the starts may have made is in the volume, or in the container, but not on the host (see secret).
}

// escapeProc: CVE-2019-19921. An image whose proc is a link would have the masks elsewhere.
func escapeProc(t *testing.T, h *host, config *runtimeapi.PodSandboxConfig) {
	pod := h.runPod(config)
	for _, name := range []string{"proc", "sys"} {
		if err := os.Rename(filepath.Join(h.images.layer, name), filepath.Join(h.images.layer, name+"-real")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("data", filepath.Join(h.images.layer, name)); err != nil {
			t.Fatal(err)
		}
		if out, ran := h.try(pod, mighty(ctr(name, "echo", "running"))); ran {
			t.Errorf("a container runs whose /%s is a link: %s", name, out)
		}
		if err := os.Remove(filepath.Join(h.images.layer, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(h.images.layer, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// A volume over parts of proc would receive what the runtime writes there (CVE-2025-52881).
	for i, at := range []string{"/proc", "/proc/self/attr", "/proc/sys/kernel", "/proc/1/oom_score_adj"} {
		c := ctr(fmt.Sprint("over", i), "echo", "running")
		c.Mounts = []*runtimeapi.Mount{{ContainerPath: at, HostPath: t.TempDir()}}
		if out, ran := h.try(pod, c); ran && at != "/proc" {
			t.Errorf("a volume at %s: %s", at, out)
		}
	}
}

// escapeDevices: the host's disks by their numbers, and masks that an image would bend (CVE-2025-31133).
func escapeDevices(t *testing.T, h *host, config *runtimeapi.PodSandboxConfig) {
	dir := filepath.Join(h.images.layer, "dev")
	for name, to := range map[string]string{"null": "/data/mine", "shm": "/", "pts": "/data", "console": "/proc/sysrq-trigger"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	pod := h.runPod(config)
	id := h.run(pod, mighty(ctr("main", "sleep", "1h")))
	h.exec(id, "box", "mknod", "/tmp/disk") // allowed to the host's root, and worth nothing
	if r := h.exec(id, "box", "cat", "/tmp/disk"); r.ExitCode == 0 {
		t.Error("a disk of the host can be read")
	}
	for _, masked := range []string{"/proc/kcore", "/proc/keys", "/proc/timer_list"} {
		if r := h.exec(id, "box", "cat", masked); len(r.Stdout) > 0 {
			t.Errorf("%s shows %d bytes", masked, len(r.Stdout))
		}
	}
	// AppArmor's default profile lets nobody write there.
	if r := h.exec(id, "box", "write", "/proc/keys", "x"); r.ExitCode != 0 && !strings.Contains(string(r.Stderr), "permission denied") {
		t.Errorf("the mask is not the null device: %s", r.Stderr)
	}
	tty := ctr("tty", "tty")
	tty.Tty = true
	if out, _ := h.try(pod, tty); !strings.HasPrefix(out, "tty true true") {
		t.Errorf("terminal: %s", out)
	}
}

// escapeDescriptors: CVE-2024-21626. What is left open, and working directories by way of it.
func escapeDescriptors(t *testing.T, h *host, config *runtimeapi.PodSandboxConfig) {
	_, path := secret(t)
	pod := h.runPod(config)
	id := h.run(pod, ctr("main", "sleep", "1h"))
	only := func(what, out string) {
		t.Helper()
		for line := range strings.Lines(out) {
			if _, to, _ := strings.Cut(strings.TrimSpace(line), " "); !strings.HasPrefix(to, "/proc/") && !strings.HasPrefix(to, "/sys/fs/cgroup/cpu") && !strings.HasPrefix(to, "anon_inode:[event") {
				t.Errorf("%s has open: %s", what, line)
			}
		}
	}
	out, _ := h.try(pod, ctr("fds", "fds"))
	only("a container", out)
	only("an exec", string(h.exec(id, "box", "fds").Stdout))
	for fd := 3; fd < 24; fd++ {
		c := mighty(ctr(fmt.Sprint("cwd", fd), "cat", strings.Repeat("../", 12)+path[1:]))
		c.WorkingDir = fmt.Sprintf("/proc/self/fd/%d", fd)
		if fd%2 == 0 {
			c.WorkingDir = fmt.Sprintf("/proc/thread-self/fd/%d/../..", fd)
		}
		if out, ran := h.try(pod, c); ran && !strings.Contains(out, "no such file") {
			t.Errorf("working directory %s: %s", c.WorkingDir, out)
		}
	}
}

// escapeLog: whoever can write where logs lie must not have the runtime write elsewhere.
func escapeLog(t *testing.T, h *host, config *runtimeapi.PodSandboxConfig) {
	_, path := secret(t)
	pod := h.runPod(config)
	if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(config.LogDirectory, "evil.log")); err != nil {
		t.Fatal(err)
	}
	c := ctr("evil", "echo", "to the host")
	resp, err := h.rt.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
	if err == nil {
		if _, err = h.rt.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: resp.ContainerId}); err == nil {
			t.Error("a container writes its log through a link")
		}
	}
	// And when the log is opened anew.
	id := h.run(pod, ctr("moved", "lines"))
	log := h.status(id).LogPath
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, log); err != nil {
		t.Fatal(err)
	}
	if _, err := h.rt.ReopenContainerLog(t.Context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: id}); err == nil {
		t.Error("a log was opened through a link")
	}
}

// escapeAccounts: passwd and group files that are long, no files, somebody else's, or lie about numbers.
func escapeAccounts(t *testing.T, h *host, config *runtimeapi.PodSandboxConfig) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "passwd"), []byte("victim:x:0:0::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pod := h.runPod(config)
	passwd := filepath.Join(h.images.layer, "etc/passwd")
	as := func(n int, user string) *runtimeapi.ContainerConfig {
		c := ctr(fmt.Sprint("c", n), "id")
		c.Linux.SecurityContext.RunAsUsername = user
		return c
	}
	long := append(bytes.Repeat([]byte("a:x:1:1::/:/\n"), 1<<20), "victim:x:0:0::/:/\n"...)
	for n, make := range []func() error{
		func() error { return os.Symlink(filepath.Join(dir, "passwd"), passwd) },
		func() error { return os.Symlink("../../../../../.."+filepath.Join(dir, "passwd"), passwd) },
		func() error { return os.Symlink("/proc/self/fd/3", passwd) },
		func() error { return unix.Mkfifo(passwd, 0o666) },
		func() error { return os.WriteFile(passwd, long, 0o644) },
		func() error { return os.Mkdir(passwd, 0o755) },
	} {
		if err := os.RemoveAll(passwd); err != nil {
			t.Fatal(err)
		}
		if err := make(); err != nil {
			t.Fatal(err)
		}
		from := time.Now()
		if out, ran := h.try(pod, as(n, "victim")); ran || !strings.Contains(out, "unable to find user victim") {
			t.Errorf("passwd %d: %s", n, out)
		}
		if took := time.Since(from); took > 10*time.Second {
			t.Errorf("passwd %d held the start up for %v", n, took)
		}
	}
	// A number is a number, whatever the image calls its root.
	if err := os.RemoveAll(passwd); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(passwd, []byte("1000:x:0:0::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := ctr("number", "id")
	c.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 1000}
	if out, _ := h.try(pod, c); !strings.HasPrefix(out, "uid 1000 ") {
		t.Errorf("user 1000 is %s", out)
	}
	for n, user := range []string{"4294967296", "4294967295", "-1", "+0", "0x0", " 0", "0:0:0"} {
		if out, ran := h.try(pod, as(100+n, user)); ran && strings.HasPrefix(out, "uid 0") {
			t.Errorf("user %q is root", user)
		}
	}
}

// escapeEnvironment: nothing that a pod says about itself changes how it is run.
func escapeEnvironment(t *testing.T, h *host, config *runtimeapi.PodSandboxConfig) {
	words := map[string]string{"proa.dev/default-seccomp": "false", "run.oci.handler": "krun", "io.kubernetes.cri-o.userns-mode": "host", "org.systemd.property.X": "1"}
	config.Annotations = words
	pod := h.runPod(config)
	c := ctr("evil", "status", "Seccomp", "NoNewPrivs", "CapEff")
	c.Annotations = words
	c.Envs = []*runtimeapi.KeyValue{
		{Key: "LD_PRELOAD", Value: []byte("/data/evil.so")}, {Key: "GOMAXPROCS", Value: []byte("0")},
		{Key: "X", Value: []byte("1\nHOME=/evil\nPATH=/evil")}, {Key: "", Value: []byte("x")}, {Key: "A=B", Value: []byte("c")},
	}
	if out, _ := h.try(pod, c); !strings.HasSuffix(out, "CapEff 00000000a80425fb\nNoNewPrivs 1\nSeccomp 2\n") {
		t.Errorf("got %q", out)
	}
	env := ctr("env", "env")
	env.Envs = c.Envs[2:3]
	if out, _ := h.try(pod, env); !strings.Contains(out, "\nPATH=/bin\n") || strings.Count(out, "HOME=/root") != 1 {
		t.Errorf("environment %q", out)
	}
}

// escapeForks: a container that forks for all it can is held by its limit, others start beside it, and it can be ended.
func escapeForks(t *testing.T, h *host, config *runtimeapi.PodSandboxConfig) {
	pod := h.runPod(config)
	c := ctr("bomb", "bomb")
	c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 256 << 20, CpuQuota: 50000, CpuPeriod: 100000, Unified: map[string]string{"pids.max": "60"}}
	id := h.run(pod, c)
	await(t, "the bomb to burn", func() bool { return strings.Count(logged(t, h.status(id)), "ready") > 3 })
	if out, ran := h.try(h.runPod(h.pod("beside")), ctr("c", "echo", "here")); !ran || out != "here\n" {
		t.Errorf("a pod beside it: %s", out)
	}
	from := time.Now()
	if _, err := h.rt.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil || time.Since(from) > 20*time.Second {
		t.Errorf("stop: %v after %v", err, time.Since(from))
	}
	h.awaitExit(id)
	await(t, "the processes to be gone", func() bool {
		for _, p := range h.processes() {
			if !strings.Contains(p, "(proa-keeper)") {
				return false
			}
		}
		return true
	})
}

// TestLogFlood: a log that is written as fast as it goes loses nothing when it is rotated.
func TestLogFlood(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("flood"))
	const lines = 300_000
	id := h.run(pod, ctr("main", "flood", fmt.Sprint(lines)))
	path := h.status(id).LogPath
	n := 0
	for h.status(id).State == runtimeapi.ContainerState_CONTAINER_RUNNING && n < 20 {
		n++
		if err := os.Rename(path, fmt.Sprintf("%s.%02d", path, n)); err != nil {
			t.Fatal(err)
		}
		if _, err := h.rt.ReopenContainerLog(t.Context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: id}); err != nil {
			break // it has ended meanwhile
		}
	}
	h.awaitExit(id)
	i := 0
	for k := range n + 1 {
		name := fmt.Sprintf("%s.%02d", path, k+1)
		if k == n {
			name = path
		}
		data, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) { // time, stream, F, and the text
			if f := bytes.Fields(line); len(f) != 5 || string(f[3]) != fmt.Sprintf("%09d", i) {
				t.Fatalf("line %d of %d rotations is %.60q", i, n, line)
			}
			i++
		}
	}
	if i != lines || n == 0 {
		t.Errorf("%d lines of %d, %d rotations", i, lines, n)
	}
}
