package cri_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/cgroup"
	"proa.dev/runtime/cri"
	"proa.dev/runtime/image"
	"proa.dev/runtime/oci/ocitest"
	"proa.dev/runtime/sandbox"
	"proa.dev/runtime/snapshot"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashMain(dir)
	}
	code := m.Run()
	ocitest.CleanUp()
	os.Exit(code)
}

// boxImages is one image made of the test program. What is prepared is what is on disk.
type boxImages struct{ layer, dir string }

func (i *boxImages) Config(_ context.Context, ref string) (string, ocispec.Image, error) {
	if ref != "box" && ref != "sha256:box" {
		return "", ocispec.Image{}, errors.New("not found")
	}
	return "sha256:box", ocispec.Image{Config: ocispec.ImageConfig{Env: []string{"PATH=/bin", "FROM=image"}, Entrypoint: []string{"box"}, Cmd: []string{"echo", "hello"}}}, nil
}

func (i *boxImages) Prepare(_ context.Context, key, _ string) (image.Rootfs, error) {
	r := image.Rootfs{Lower: []string{i.layer}, Upper: filepath.Join(i.dir, key, "u"), Work: filepath.Join(i.dir, key, "w")}
	return r, errors.Join(os.MkdirAll(r.Upper, 0o755), os.MkdirAll(r.Work, 0o755))
}

func (i *boxImages) Release(_ context.Context, key string) error {
	return os.RemoveAll(filepath.Join(i.dir, key))
}

func (i *boxImages) SnapshotUsage(_ context.Context, key string) (snapshot.Usage, error) {
	if _, err := os.Stat(filepath.Join(i.dir, key)); err != nil {
		return snapshot.Usage{}, err
	}
	return snapshot.Usage{Bytes: 12, Inodes: 1}, nil
}

func (i *boxImages) Prepared() []string {
	entries, _ := os.ReadDir(i.dir) // missing before the first
	var keys []string
	for _, e := range entries {
		keys = append(keys, e.Name())
	}
	return keys
}

// lonely is a network that connects nothing, and keeps count.
type lonely struct {
	mu       sync.Mutex // guards attached
	attached map[string]bool
}

func (n *lonely) Attach(_ context.Context, p sandbox.NetworkPod) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attached[p.ID] = true
	if _, err := os.Stat(p.NetNS); err != nil {
		return nil, err
	}
	return []netip.Addr{netip.MustParseAddr("10.42.0.9")}, nil
}

func (n *lonely) Detach(_ context.Context, p sandbox.NetworkPod) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.attached, p.ID)
	return nil
}

// host is a runtime with all that it stands on, which outlives it.
type host struct {
	t       testing.TB
	deps    cri.Deps
	images  *boxImages
	network *lonely
	rt      *cri.Runtime
	stop    func()
}

func newHost(t testing.TB) *host {
	t.Helper()
	roottest.Need(t, "namespaces, mounts and cgroups")
	dir := t.TempDir()
	h := &host{t: t, images: &boxImages{layer: ocitest.RootFS(t), dir: filepath.Join(dir, "snapshots")},
		network: &lonely{attached: map[string]bool{}}}
	h.deps = cri.Deps{Root: filepath.Join(dir, "root"), Run: filepath.Join(dir, "run"), CgroupParent: fmt.Sprintf("/proa-cri-test-%d-%d", os.Getpid(), time.Now().UnixNano()),
		Images: h.images, Network: h.network, KeeperPath: ocitest.KeeperPath(t),
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	t.Cleanup(h.clean)
	h.start()
	return h
}

// start runs a runtime on what is there.
func (h *host) start() {
	h.t.Helper()
	rt, err := cri.New(h.deps)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rt.Run(ctx) }()
	h.rt = rt
	h.stop = func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			h.t.Errorf("Run: %v", err)
		}
	}
}

// clean removes all pods and says what is left.
func (h *host) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pods, err := h.rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		h.t.Error(err)
	}
	for _, p := range pods.GetItems() {
		if _, err := h.rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.Id}); err != nil {
			h.t.Error(err)
		}
	}
	h.stop()
	h.leftovers()
	// What the runtime itself holds goes last.
	tree, err := cgroup.Open()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := tree.At(h.deps.CgroupParent).Remove(); err != nil {
		h.t.Error(err)
	}
}

// leftovers reports what removed pods left on the host.
func (h *host) leftovers() {
	for _, dir := range []string{"root/sandboxes", "root/containers", "run/keepers", "run/netns", "run/shm", "snapshots"} {
		entries, _ := os.ReadDir(filepath.Join(filepath.Dir(h.deps.Root), dir))
		for _, e := range entries {
			h.t.Errorf("left: %s/%s", dir, e.Name())
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		h.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, filepath.Dir(h.deps.Root)) {
			h.t.Errorf("left mounted: %s", line)
		}
	}
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(time.Millisecond) {
		left := h.processes()
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			h.t.Errorf("left processes: %v", left)
			break
		}
	}
	if n := len(h.network.attached); n > 0 {
		h.t.Errorf("left attached: %d pods", n)
	}
	for _, ctl := range []string{"memory", "unified", ""} {
		groups, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", ctl, h.deps.CgroupParent, "pods", "*"))
		for _, g := range groups {
			if info, err := os.Stat(g); err == nil && info.IsDir() {
				h.t.Errorf("left cgroup: %s", g)
			}
		}
	}
}

// processes lists what runs in the cgroups of this host. Keepers that a stopped runtime started stay as zombies: they are
// children of this test, and after a real crash there would be no such parent.
func (h *host) processes() []string {
	var found []string
	procs, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, p := range procs {
		groups, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(groups), h.deps.CgroupParent) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(p), "stat"))
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			found = append(found, string(stat))
		}
	}
	return found
}

// pod is a config for a pod.
func (h *host) pod(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "ns", Uid: "uid-" + name}, Hostname: name,
		LogDirectory: filepath.Join(filepath.Dir(h.deps.Root), "logs", name), Labels: map[string]string{"app": name},
		DnsConfig: &runtimeapi.DNSConfig{Servers: []string{"10.43.0.10"}, Searches: []string{"ns.svc.cluster.local"}, Options: []string{"ndots:5"}},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}}},
	}
}

func (h *host) runPod(config *runtimeapi.PodSandboxConfig) string {
	h.t.Helper()
	resp, err := h.rt.RunPodSandbox(context.Background(), &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.PodSandboxId
}

// ctr is a config for a container that runs the test program.
func ctr(name string, args ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: name}, Image: &runtimeapi.ImageSpec{Image: "box"},
		Args: args, LogPath: name + ".log",
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: &runtimeapi.LinuxContainerResources{CpuShares: 256, MemoryLimitInBytes: 64 << 20},
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{NoNewPrivs: true, Seccomp: &runtimeapi.SecurityProfile{},
				NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}}}}
}

func (h *host) create(pod string, sandboxConfig *runtimeapi.PodSandboxConfig, config *runtimeapi.ContainerConfig) string {
	h.t.Helper()
	resp, err := h.rt.CreateContainer(context.Background(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: config, SandboxConfig: sandboxConfig})
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.ContainerId
}

func (h *host) run(pod string, config *runtimeapi.ContainerConfig) string {
	h.t.Helper()
	id := h.create(pod, nil, config)
	if _, err := h.rt.StartContainer(context.Background(), &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		h.t.Fatal(err)
	}
	return id
}

func (h *host) status(id string) *runtimeapi.ContainerStatus {
	h.t.Helper()
	resp, err := h.rt.ContainerStatus(context.Background(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.Status
}

// await calls cond until it holds.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (h *host) awaitExit(id string) *runtimeapi.ContainerStatus {
	h.t.Helper()
	await(h.t, "exit of "+id, func() bool { return h.status(id).State == runtimeapi.ContainerState_CONTAINER_EXITED })
	return h.status(id)
}

func (h *host) exec(id string, cmd ...string) *runtimeapi.ExecSyncResponse {
	h.t.Helper()
	resp, err := h.rt.ExecSync(context.Background(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: cmd, Timeout: 10})
	if err != nil {
		h.t.Fatal(err)
	}
	return resp
}

func TestPodLife(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := h.rt.Events(ctx)
	config := h.pod("web")
	pod := h.runPod(config)
	id := h.run(pod, ctr("main", "both"))
	s := h.awaitExit(id)
	if s.ExitCode != 0 || s.Reason != "Completed" || s.StartedAt == 0 || s.FinishedAt < s.StartedAt {
		t.Errorf("status %v", s)
	}
	out, errOut := ocitest.Logged(t, s.LogPath)
	if out != "to stdout\n" || errOut != "to stderr\n" {
		t.Errorf("logged %q and %q", out, errOut)
	}
	ps, err := h.rt.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod})
	if err != nil || ps.Status.Network.Ip != "10.42.0.9" || ps.Status.State != runtimeapi.PodSandboxState_SANDBOX_READY {
		t.Errorf("pod status %v, %v", ps, err)
	}
	if _, err := h.rt.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for e := range events {
		got = append(got, e.ContainerEventType.String()[len("CONTAINER_"):]+" "+map[string]string{pod: "pod", id: "main"}[e.ContainerId])
		if e.ContainerEventType == runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT && e.ContainerId == pod {
			cancel()
		}
	}
	want := "CREATED_EVENT pod, STARTED_EVENT pod, CREATED_EVENT main, STARTED_EVENT main, STOPPED_EVENT main, STOPPED_EVENT pod, DELETED_EVENT main, DELETED_EVENT pod"
	if g := strings.Join(got, ", "); g != want {
		t.Errorf("events\n got %s\nwant %s", g, want)
	}
}
