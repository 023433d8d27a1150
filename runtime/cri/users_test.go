package cri_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/archive"
	"proa.dev/runtime/image"
	"proa.dev/runtime/oci/ocitest"
)

// firstUser is the host's number of a mapped pod's root: the highest that the kubelet gives.
const firstUser = 65534 << 16

// mappedPod is a config for a pod with a user namespace.
func (h *host) mappedPod(name string) *runtimeapi.PodSandboxConfig {
	config := h.pod(name)
	config.Linux.SecurityContext.NamespaceOptions.UsernsOptions = &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD,
		Uids: []*runtimeapi.IDMapping{{HostId: firstUser, Length: 65536}}, Gids: []*runtimeapi.IDMapping{{HostId: firstUser, Length: 65536}}}
	return config
}

func owner(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

// TestUserNamespace: inside all is as ever, outside the processes are nobody. What they write is root's on disk.
func TestUserNamespace(t *testing.T) {
	h := newHost(t)
	config := h.mappedPod("mapped")
	users := config.Linux.SecurityContext.NamespaceOptions.UsernsOptions
	pod := h.runPod(config)
	vol, plain := t.TempDir(), t.TempDir()
	main := ctr("main", "sleep", "1h")
	main.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/vol", HostPath: vol, UidMappings: users.Uids, GidMappings: users.Gids},
		{ContainerPath: "/plain", HostPath: plain},
	}
	id := h.run(pod, main)
	if got := string(h.exec(id, "box", "cat", "/proc/self/uid_map", "/proc/1/gid_map").Stdout); strings.Join(strings.Fields(got), " ") !=
		fmt.Sprintf("0 %d 65536 0 %[1]d 65536", firstUser) {
		t.Errorf("maps %q", got)
	}
	pid := h.pid(id)
	if got := owner(t, fmt.Sprintf("/proc/%d", pid)); got != firstUser {
		t.Errorf("the host sees the process as %d's", got)
	}
	if got := h.exec(id, "box", "write", "/vol/new", "x"); got.ExitCode != 0 || owner(t, filepath.Join(vol, "new")) != 0 {
		t.Errorf("write to a mapped volume: %s, owner %d", got.Stderr, owner(t, filepath.Join(vol, "new")))
	}
	if got := h.exec(id, "box", "write", "/plain/new", "x"); !strings.Contains(string(got.Stderr), "permission denied") {
		t.Errorf("write to a volume of the host's root: %v", got)
	}
	for _, ns := range []string{"user", "net", "ipc", "uts", "mnt", "pid", "cgroup"} {
		mine, _ := os.Readlink("/proc/self/ns/" + ns)
		its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if err != nil || its == mine {
			t.Errorf("namespace %s is %s, the host's %s: %v", ns, its, mine, err)
		}
	}
	tty := ctr("tty", "tty")
	tty.Tty = true
	if got := h.output(pod, tty); !strings.HasPrefix(got, "tty true true") {
		t.Errorf("terminal: %q", got)
	}
	// With all capabilities, they reach as far as the namespace does.
	mighty := ctr("mighty", "sleep", "1h")
	mighty.Linux.SecurityContext.Capabilities = &runtimeapi.Capability{AddCapabilities: []string{"ALL"}}
	mighty.Linux.SecurityContext.Seccomp = nil
	mighty.Linux.SecurityContext.Apparmor = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined} // whose default forbids mounts
	strong := h.run(pod, mighty)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"try", "mount"}, "mount <nil>"},
		{[]string{"mknod", "/tmp/disk"}, "operation not permitted"},
		{[]string{"write", "/proc/sys/kernel/core_pattern", "|/bin/box"}, "read-only file system"},
	} {
		got := h.exec(strong, append([]string{"box"}, c.args...)...)
		if text := string(got.Stdout) + string(got.Stderr); !strings.Contains(text, c.want) {
			t.Errorf("%v: %s", c.args, text)
		}
	}
	// A restarted daemon still gets in.
	h.stop()
	h.start()
	if got := string(h.exec(id, "box", "id").Stdout); !strings.HasPrefix(got, "uid 0 gid 0") {
		t.Errorf("after a restart: %q", got)
	}
}

// pid is a container's first process.
func (h *host) pid(id string) int {
	h.t.Helper()
	resp, err := h.rt.ContainerStatus(context.Background(), &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		h.t.Fatal(err)
	}
	var pid int
	_, rest, _ := strings.Cut(resp.Info["info"], `"pid":`)
	if _, err := fmt.Sscanf(rest, "%d", &pid); err != nil {
		h.t.Fatal(resp.Info, err)
	}
	return pid
}

// TestUserNamespaceShared: containers of a pod that share processes, and one that joins another's.
func TestUserNamespaceShared(t *testing.T) {
	h := newHost(t)
	config := h.mappedPod("shared")
	config.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	config.Linux.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "77", "kernel.shm_rmid_forced": "1"}
	pod := h.runPod(config)
	with := ctr("a", "sleep", "1h")
	with.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	a := h.run(pod, with)
	got := string(h.exec(a, "box", "ps").Stdout)
	if !strings.HasPrefix(got, "1 proa-keeper pause\n") || strings.Count(got, "box sleep 1h") != 1 {
		t.Errorf("processes of the pod:\n%s", got)
	}
	if got := string(h.exec(a, "box", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shm_rmid_forced").Stdout); got != "77\n1\n" {
		t.Errorf("sysctls: %q", got)
	}
	other := h.runPod(h.mappedPod("target"))
	target := h.run(other, ctr("main", "sleep", "1h"))
	debug := ctr("debug", "ps")
	debug.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: target}
	if got := h.output(other, debug); !strings.HasPrefix(got, "1 box sleep 1h\n") {
		t.Errorf("debug container sees %q", got)
	}
}

// TestUserNamespaceImages: layers and image volumes show their files as root's.
func TestUserNamespaceImages(t *testing.T) {
	h := newHost(t)
	base, err := archive.Tree(ocitest.RootFS(t))
	if err != nil {
		t.Fatal(err)
	}
	var tar bytes.Buffer
	_, err = archive.Build(&tar, archive.Spec{Names: []string{"layered:1"}, Config: ocispec.ImageConfig{Env: []string{"PATH=/bin"}},
		Layers: [][]archive.File{base, {{Path: "data/old", Mode: 0o644, Content: []byte("old")}}, {{Path: "data/.wh.old", Mode: 0o644}, {Path: "data/sub/new", Mode: 0o600, Content: []byte("new\n")}}}})
	if err != nil {
		t.Fatal(err)
	}
	store, err := image.Open(image.Config{Root: filepath.Join(t.TempDir(), "images")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Import(t.Context(), &tar); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.deps.Images = store
	h.start()
	pod := h.runPod(h.mappedPod("images"))
	main := ctr("main", "sleep", "1h")
	main.Image.Image = "layered:1"
	main.Command = []string{"/bin/box"}
	main.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/whole", Image: &runtimeapi.ImageSpec{Image: "layered:1"}, Readonly: true},
		{ContainerPath: "/part", Image: &runtimeapi.ImageSpec{Image: "layered:1"}, ImageSubPath: "data/sub", Readonly: true},
	}
	id := h.run(pod, main)
	if got := h.exec(id, "/bin/box", "cat", "/data/sub/new", "/whole/data/sub/new", "/part/new"); string(got.Stdout) != "new\nnew\nnew\n" {
		t.Errorf("cat: %s%s", got.Stdout, got.Stderr)
	}
	if got := h.exec(id, "/bin/box", "ls", "/data"); string(got.Stdout) != "sub\n" {
		t.Errorf("ls /data: %s%s", got.Stdout, got.Stderr)
	}
	if got := h.exec(id, "/bin/box", "write", "/data/sub/new", "x"); got.ExitCode != 0 {
		t.Errorf("write over a layer's file: %s", got.Stderr)
	}
	if got := h.exec(id, "/bin/box", "write", "/part/new", "x"); !strings.Contains(string(got.Stderr), "read-only file system") {
		t.Errorf("write to an image volume: %v", got)
	}
	if _, err := h.rt.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		t.Fatal(err)
	}
	if left := store.Prepared(); len(left) != 0 {
		t.Errorf("root file systems left after the pod is gone: %v", left)
	}
}

// TestUserNamespaceRefused: what cannot be is said at once, and nothing is left (newHost looks).
func TestUserNamespaceRefused(t *testing.T) {
	h := newHost(t)
	for name, change := range map[string]func(*runtimeapi.NamespaceOption){
		"two ranges": func(o *runtimeapi.NamespaceOption) {
			o.UsernsOptions.Uids = append(o.UsernsOptions.Uids, o.UsernsOptions.Uids[0])
		},
		"no groups":        func(o *runtimeapi.NamespaceOption) { o.UsernsOptions.Gids = nil },
		"no root":          func(o *runtimeapi.NamespaceOption) { o.UsernsOptions.Uids[0].ContainerId = 1 },
		"the host's root":  func(o *runtimeapi.NamespaceOption) { o.UsernsOptions.Uids[0].HostId = 0 },
		"other sizes":      func(o *runtimeapi.NamespaceOption) { o.UsernsOptions.Gids[0].Length = 7 },
		"out of range":     func(o *runtimeapi.NamespaceOption) { o.UsernsOptions.Uids[0].HostId = 1<<32 - 5 },
		"container's mode": func(o *runtimeapi.NamespaceOption) { o.UsernsOptions.Mode = runtimeapi.NamespaceMode_CONTAINER },
		"host and ranges":  func(o *runtimeapi.NamespaceOption) { o.UsernsOptions.Mode = runtimeapi.NamespaceMode_NODE },
		"host's network":   func(o *runtimeapi.NamespaceOption) { o.Network = runtimeapi.NamespaceMode_NODE },
	} {
		config := h.mappedPod("refused")
		change(config.Linux.SecurityContext.NamespaceOptions)
		if _, err := h.rt.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	pod := h.runPod(h.mappedPod("mapped"))
	c := ctr("volume", "echo")
	c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/v", HostPath: t.TempDir(), UidMappings: []*runtimeapi.IDMapping{{HostId: 5, Length: 1}}, GidMappings: []*runtimeapi.IDMapping{{HostId: 5, Length: 1}}}}
	if _, err := h.rt.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c}); err == nil || !strings.Contains(err.Error(), "not those of the pod") {
		t.Errorf("a volume with other mappings: %v", err)
	}
}
