package cri_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/oci/ocitest"
)

func logged(t testing.TB, s *runtimeapi.ContainerStatus) string {
	t.Helper()
	out, errOut := ocitest.Logged(t, s.LogPath)
	return out + errOut
}

// output runs a container to its end in its own pod and returns what it wrote.
func (h *host) output(pod string, config *runtimeapi.ContainerConfig) string {
	h.t.Helper()
	return logged(h.t, h.awaitExit(h.run(pod, config)))
}

func TestContainerFields(t *testing.T) {
	h := newHost(t)
	h.fields(t, h.pod("fields"))
}

// TestUserNamespaceFields: in a user namespace all is as without.
func TestUserNamespaceFields(t *testing.T) {
	h := newHost(t)
	h.fields(t, h.mappedPod("fields"))
}

// fields runs containers in a pod of the given config.
func (h *host) fields(t *testing.T, config *runtimeapi.PodSandboxConfig) {
	pod := h.runPod(config)
	users := config.Linux.SecurityContext.NamespaceOptions.UsernsOptions
	n := 0
	run := func(change func(*runtimeapi.ContainerConfig), args ...string) string {
		t.Helper()
		n++
		c := ctr(fmt.Sprint("c", n), args...)
		if change != nil {
			change(c)
		}
		return h.output(pod, c)
	}
	sc := func(c *runtimeapi.ContainerConfig) *runtimeapi.LinuxContainerSecurityContext {
		return c.Linux.SecurityContext
	}
	vol := t.TempDir()
	if err := os.WriteFile(filepath.Join(vol, "f"), []byte("from host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mount := func(ro bool) func(*runtimeapi.ContainerConfig) {
		return func(c *runtimeapi.ContainerConfig) {
			c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/not/there/yet", HostPath: vol, Readonly: ro,
				UidMappings: users.GetUids(), GidMappings: users.GetGids()}}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*runtimeapi.ContainerConfig)
		args   []string
		want   string
	}{
		{"image's arguments", nil, nil, "hello\n"},
		{"command replaces both", func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/bin/box", "echo"} }, []string{"x"}, "x\n"},
		{"environment", func(c *runtimeapi.ContainerConfig) {
			c.Envs = []*runtimeapi.KeyValue{{Key: "FROM", Value: []byte("pod")}, {Key: "ODD", Value: []byte("a=b c")}}
		}, []string{"env"}, "FROM=pod\nHOME=/root\nHOSTNAME=fields\nODD=a=b c\nPATH=/bin\n"},
		{"working directory", func(c *runtimeapi.ContainerConfig) { c.WorkingDir = "/a/b" }, []string{"pwd"}, "/a/b\n"},
		{"user by number", func(c *runtimeapi.ContainerConfig) { sc(c).RunAsUser = &runtimeapi.Int64Value{Value: 1000} }, []string{"id"}, "uid 1000 gid 1001 groups [50 1001]\n"},
		{"user without entry", func(c *runtimeapi.ContainerConfig) {
			sc(c).RunAsUser, sc(c).RunAsGroup = &runtimeapi.Int64Value{Value: 4242}, &runtimeapi.Int64Value{Value: 7}
			sc(c).SupplementalGroups = []int64{99}
		}, []string{"id"}, "uid 4242 gid 7 groups [7 99]\n"},
		{"strict groups", func(c *runtimeapi.ContainerConfig) {
			sc(c).RunAsUsername = "alice"
			sc(c).SupplementalGroupsPolicy = runtimeapi.SupplementalGroupsPolicy_Strict
		}, []string{"id"}, "uid 1000 gid 1001 groups [1001]\n"},
		{"host name", nil, []string{"hostname"}, "fields\n"},
		{"resolver", nil, []string{"cat", "/etc/resolv.conf"}, "search ns.svc.cluster.local\nnameserver 10.43.0.10\noptions ndots:5\n"},
		{"hostname file", nil, []string{"cat", "/etc/hostname"}, "fields\n"},
		{"volume", mount(false), []string{"cat", "/not/there/yet/f"}, "from host\n"},
		{"read-only volume", mount(true), []string{"write", "/not/there/yet/g", "x"}, "write: open /not/there/yet/g: read-only file system\n"},
		{"read-only root", func(c *runtimeapi.ContainerConfig) { sc(c).ReadonlyRootfs = true }, []string{"write", "/data/g", "x"}, "write: open /data/g: read-only file system\n"},
		{"masked file", nil, []string{"cat", "/proc/keys"}, ""},
		{"masked directory", nil, []string{"ls", "/sys/firmware"}, ""},
		{"read-only proc", nil, []string{"write", "/proc/sys/kernel/domainname", "x"}, "write: open /proc/sys/kernel/domainname: read-only file system\n"},
		{"read-only sys", nil, []string{"write", "/sys/kernel/profiling", "x"}, "write: open /sys/kernel/profiling: read-only file system\n"},
		{"default capabilities", nil, []string{"status", "CapBnd", "CapEff", "CapInh", "CapAmb"}, "CapInh 0000000000000000\nCapEff 00000000a80425fb\nCapBnd 00000000a80425fb\nCapAmb 0000000000000000\n"},
		{"capabilities of a user", func(c *runtimeapi.ContainerConfig) { sc(c).RunAsUser = &runtimeapi.Int64Value{Value: 1000} },
			[]string{"status", "CapEff", "CapPrm"}, "CapPrm 0000000000000000\nCapEff 0000000000000000\n"},
		{"ambient capability", func(c *runtimeapi.ContainerConfig) {
			sc(c).RunAsUser = &runtimeapi.Int64Value{Value: 1000}
			sc(c).Capabilities = &runtimeapi.Capability{AddAmbientCapabilities: []string{"NET_BIND_SERVICE"}}
		}, []string{"status", "CapEff"}, "CapEff 0000000000000400\n"},
		{"dropped and added", func(c *runtimeapi.ContainerConfig) {
			sc(c).Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"chown"}}
		}, []string{"status", "CapEff"}, "CapEff 0000000000000001\n"},
		{"seccomp and no new privileges", nil, []string{"status", "NoNewPrivs", "Seccomp"}, "NoNewPrivs 1\nSeccomp 2\n"},
		{"new privileges", func(c *runtimeapi.ContainerConfig) { sc(c).NoNewPrivs = false }, []string{"status", "NoNewPrivs", "Seccomp"}, "NoNewPrivs 0\nSeccomp 2\n"},
		{"no profile", func(c *runtimeapi.ContainerConfig) { sc(c).Seccomp = nil }, []string{"status", "Seccomp"}, "Seccomp 0\n"},
		{"writable volume", mount(false), []string{"write", "/not/there/yet/g", "x"}, ""},
		{"writable root", nil, []string{"write", "/data/g", "x"}, ""},
		{"unconfined", func(c *runtimeapi.ContainerConfig) {
			sc(c).Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
		}, []string{"status", "Seccomp"}, "Seccomp 0\n"},
		{"mount is forbidden", nil, []string{"try", "mount"}, "mount operation not permitted\n"},
		{"unshare is forbidden", nil, []string{"try", "unshare"}, "unshare operation not permitted\n"},
		{"keyctl is forbidden", nil, []string{"try", "keyctl"}, "keyctl operation not permitted\n"},
		{"unknown calls are not implemented", nil, []string{"try", "newest"}, "newest function not implemented\n"},
		{"getpid is allowed", nil, []string{"try", "getpid"}, "getpid <nil>\n"},
		{"alone in its PID namespace", nil, []string{"ps"}, "1 box ps\n"},
		{"devices", nil, []string{"ls", "/dev"}, "core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n"},
		{"no terminal", func(c *runtimeapi.ContainerConfig) {}, []string{"tty"}, "tty false false\ntty: inappropriate ioctl for device\n"},
		{"terminal", func(c *runtimeapi.ContainerConfig) { c.Tty = true }, []string{"tty"}, "tty true true\r\nsize 0 0\r\n"},
		{"long lines", nil, []string{"long", "40000"}, strings.Repeat("x", 40000) + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(c.change, c.args...); got != c.want {
				t.Errorf("\n got %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestShared(t *testing.T) {
	h := newHost(t)
	config := h.pod("shared")
	config.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	config.Linux.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "77", "kernel.shm_rmid_forced": "1"}
	pod := h.runPod(config)
	withPod := func(name string, args ...string) *runtimeapi.ContainerConfig {
		c := ctr(name, args...)
		c.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
		return c
	}
	a := h.run(pod, withPod("a", "sleep", "1h"))
	if got := string(h.exec(a, "box", "write", "/dev/shm/note", "hi").Stderr); got != "" {
		t.Error(got)
	}
	b := h.run(pod, withPod("b", "sleep", "1h"))
	if got := string(h.exec(b, "box", "cat", "/dev/shm/note", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shm_rmid_forced").Stdout); got != "hi\n77\n1\n" {
		t.Errorf("shared memory and sysctls: %q", got)
	}
	ps := string(h.exec(b, "box", "ps").Stdout)
	if !strings.HasPrefix(ps, "1 proa-keeper pause\n") || strings.Count(ps, "box sleep 1h") != 2 {
		t.Errorf("processes of the pod:\n%s", ps)
	}
	// A debug container joins the processes of another one.
	other := h.runPod(h.pod("target"))
	target := h.run(other, ctr("main", "sleep", "1h"))
	debug := ctr("debug", "ps")
	debug.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: target}
	if got := h.output(other, debug); !strings.HasPrefix(got, "1 box sleep 1h\n") {
		t.Errorf("debug container sees %q", got)
	}
}

func TestStop(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("stop"))
	ready := func(id string) {
		t.Helper()
		await(t, "container to be ready", func() bool { return logged(t, h.status(id)) == "ready\n" })
	}
	stop := func(id string, grace int64) time.Duration {
		t.Helper()
		from := time.Now()
		if _, err := h.rt.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: grace}); err != nil {
			t.Fatal(err)
		}
		return time.Since(from)
	}
	polite := h.run(pod, ctr("polite", "polite"))
	ready(polite)
	stop(polite, 10)
	if s := h.awaitExit(polite); s.ExitCode != 7 || s.Reason != "Error" {
		t.Errorf("polite: %d %s", s.ExitCode, s.Reason)
	}
	custom := ctr("custom", "polite")
	custom.StopSignal = runtimeapi.Signal_SIGNAL_SIGUSR1
	id := h.run(pod, custom)
	ready(id)
	stop(id, 10)
	if s := h.awaitExit(id); s.ExitCode != 8 {
		t.Errorf("own signal: %d", s.ExitCode)
	}
	late := h.run(pod, ctr("late", "late"))
	ready(late)
	stop(late, 20)
	if s := h.awaitExit(late); s.ExitCode != 7 {
		t.Errorf("late: %d", s.ExitCode)
	}
	stubborn := h.run(pod, ctr("stubborn", "stubborn"))
	ready(stubborn)
	if took := stop(stubborn, 1); took < time.Second {
		t.Errorf("killed after %v, before its time", took)
	}
	if s := h.awaitExit(stubborn); s.ExitCode != 137 {
		t.Errorf("stubborn: %d", s.ExitCode)
	}
	stop(stubborn, 1) // twice is no error
	now := h.run(pod, ctr("now", "stubborn"))
	stop(now, 0)
	// A running container is removed by force, an unknown one is no error.
	force := h.run(pod, ctr("force", "sleep", "1h"))
	for _, id := range []string{force, force, "0123456789"} {
		if _, err := h.rt.RemoveContainer(t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
			t.Errorf("remove %s: %v", id, err)
		}
	}
	// What the first process leaves behind goes with it.
	fork := h.run(pod, ctr("fork", "fork"))
	h.awaitExit(fork)
}

func TestCannotStart(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("wrong"))
	for _, c := range []struct{ name, program, want string }{
		{"missing", "nope", `exec: "nope": executable file not found in $PATH`},
		{"absolute", "/nope", `exec: "/nope": stat /nope: no such file or directory`},
		{"plain", "/bin/plain", `exec: "/bin/plain": permission denied`},
		{"directory", "/etc", `exec: "/etc": is a directory`},
	} {
		config := ctr(c.name)
		config.Command = []string{c.program}
		id := h.create(pod, nil, config)
		_, err := h.rt.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id})
		if err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %s", c.name, err, c.want)
		}
		if s := h.status(id); s.ExitCode != 128 || s.Reason != "StartError" || !strings.HasSuffix(s.Message, c.want) {
			t.Errorf("%s: %d %s %s", c.name, s.ExitCode, s.Reason, s.Message)
		}
	}
	create := func(config *runtimeapi.ContainerConfig) error {
		_, err := h.rt.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: config})
		return err
	}
	config := ctr("image")
	config.Image.Image = "elsewhere"
	if err := create(config); err == nil || !strings.Contains(err.Error(), "image elsewhere: not found") {
		t.Errorf("missing image: %v", err)
	}
	config = ctr("volume")
	config.Mounts = []*runtimeapi.Mount{{ContainerPath: "/v", HostPath: "/nonexistent/volume"}}
	if err := create(config); err == nil || !strings.Contains(err.Error(), "mount /v: ") {
		t.Errorf("missing volume: %v", err)
	}
	config = ctr("proc", "echo")
	config.Mounts = []*runtimeapi.Mount{{ContainerPath: "/proc/self/attr", HostPath: t.TempDir()}}
	id := h.create(pod, nil, config)
	if _, err := h.rt.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id}); err == nil {
		t.Error("a volume over /proc/self/attr was accepted")
	}
	if err := create(ctr("proc", "echo")); status.Code(err) != codes.AlreadyExists {
		t.Errorf("the same container twice: %v", err)
	}
	user := ctr("user", "echo")
	user.Linux.SecurityContext.RunAsUsername = "nobody-here"
	id = h.create(pod, nil, user)
	if _, err := h.rt.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id}); err == nil ||
		!strings.Contains(err.Error(), "unable to find user nobody-here") {
		t.Errorf("unknown user: %v", err)
	}
}

func TestOutOfMemory(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("oom"))
	config := ctr("eater", "eat", "200")
	config.Linux.Resources.MemoryLimitInBytes = 32 << 20
	if s := h.awaitExit(h.run(pod, config)); s.Reason != "OOMKilled" || s.ExitCode != 137 {
		t.Errorf("got %s, code %d", s.Reason, s.ExitCode)
	}
}

func TestResources(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("limits"))
	id := h.run(pod, ctr("main", "sleep", "1h"))
	limit := func() uint64 {
		t.Helper()
		resp, err := h.rt.ContainerStats(t.Context(), &runtimeapi.ContainerStatsRequest{ContainerId: id})
		if err != nil {
			t.Fatal(err)
		}
		m := resp.Stats.Memory
		return m.AvailableBytes.GetValue() + m.WorkingSetBytes.GetValue()
	}
	if got := limit(); got != 64<<20 {
		t.Errorf("limit %d", got)
	}
	for _, mib := range []int64{128, 32} {
		_, err := h.rt.UpdateContainerResources(t.Context(), &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id,
			Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: mib << 20, CpuQuota: 20000, CpuPeriod: 100000}})
		if err != nil {
			t.Fatal(err)
		}
		if got := limit(); got != uint64(mib)<<20 {
			t.Errorf("limit %d, want %d MiB", got, mib)
		}
	}
	if r := h.status(id).Resources.Linux; r.MemoryLimitInBytes != 32<<20 || r.CpuShares != 256 || r.CpuQuota != 20000 {
		t.Errorf("status says %v", r)
	}
	stats, err := h.rt.PodSandboxStats(t.Context(), &runtimeapi.PodSandboxStatsRequest{PodSandboxId: pod})
	if err != nil || stats.Stats.Linux.Memory.WorkingSetBytes.GetValue() == 0 || len(stats.Stats.Linux.Containers) != 1 {
		t.Errorf("pod figures %v, %v", stats, err)
	}
	if l := stats.Stats.Linux; l.Network == nil || l.Containers[0].WritableLayer.UsedBytes.GetValue() != 12 {
		t.Errorf("network %v, layer %v; want some, and 12 bytes", l.Network, l.Containers[0].WritableLayer)
	}
}

func TestLogReopen(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("log"))
	id := h.run(pod, ctr("main", "lines"))
	path := h.status(id).LogPath
	size := func(p string) int64 {
		info, err := os.Stat(p)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	await(t, "log", func() bool { return size(path) > 0 })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.rt.ReopenContainerLog(t.Context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
	await(t, "new log", func() bool { return size(path) > 0 })
	if _, err := h.rt.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
	h.awaitExit(id)
	old, _ := ocitest.Logged(t, path+".1")
	more, _ := ocitest.Logged(t, path)
	for i, line := range strings.Split(strings.TrimSuffix(old+more, "\n"), "\n") {
		if line != fmt.Sprint(i) {
			t.Fatalf("line %d is %q: lost in rotation", i, line)
		}
	}
}

func TestSandboxes(t *testing.T) {
	h := newHost(t)
	config := h.pod("one")
	pod := h.runPod(config)
	if _, err := h.rt.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config}); status.Code(err) != codes.AlreadyExists {
		t.Errorf("the same pod twice: %v", err)
	}
	if _, err := h.rt.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: h.pod("two"), RuntimeHandler: "none"}); err == nil {
		t.Error("unknown runtime handler accepted")
	}
	hostNet := h.pod("host")
	hostNet.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_CONTAINER}
	hp := h.runPod(hostNet)
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if got := h.output(hp, ctr("main", "hostname")); got != name+"\n" {
		t.Errorf("host network pod is called %q", got)
	}
	bad := h.pod("bad")
	bad.Linux.Sysctls = map[string]string{"kernel.nonsense": "1"}
	if _, err := h.rt.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: bad}); err == nil || !strings.Contains(err.Error(), "sysctl kernel.nonsense") {
		t.Errorf("bad sysctl: %v", err)
	}
	list, err := h.rt.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"app": "one"}}})
	if err != nil || len(list.Items) != 1 || list.Items[0].Id != pod {
		t.Errorf("list %v, %v", list, err)
	}
	for range 2 {
		if _, err := h.rt.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = h.rt.CreateContainer(context.Background(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: ctr("late", "echo")})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("container in a stopped pod: %v", err)
	}
}
