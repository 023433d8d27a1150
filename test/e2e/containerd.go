package e2e

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

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/archive"
	"proa.dev/test/machine"
)

// containerd is a containerd of the test's own, apart from any other on this host.
type containerd struct {
	t        *testing.T
	dir, run string
	daemon   *exec.Cmd // nil until it runs
}

func newContainerd(t *testing.T) *containerd {
	t.Helper()
	roottest.Need(t, "containers are namespaces, cgroups and mounts")
	for _, program := range []string{"containerd", "ctr", "runc", "/usr/lib/cni/ptp"} {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		out, err := exec.Command("sh", "-c", "apt-get -q update && apt-get -qy install --no-install-recommends containerd containernetworking-plugins runc").CombinedOutput()
		if err != nil {
			t.Fatalf("install containerd: %v\n%s", err, out)
		}
		break
	}
	run, err := os.MkdirTemp("/run", "ctrd-test-") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	d := &containerd{t: t, dir: t.TempDir(), run: run}
	t.Cleanup(d.stop)
	return d
}

func (d *containerd) socket() string { return d.run + "/containerd.sock" }

// settings are the lines of the configuration file by which a node uses it.
func (d *containerd) settings() string {
	return fmt.Sprintf("runtime:\n  endpoint: unix://%s\nnetwork:\n  cniConf: %s/net.d\n", d.socket(), d.dir)
}

const containerdConfig = `
version = 2
root = "%[1]s/root"
state = "%[2]s/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "%[2]s/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.k8s.io/pause:3.6"
netns_mounts_under_state_dir = true
disable_apparmor = true
restrict_oom_score_adj = true # a machine within a machine may not protect its processes
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "%[1]s/net.d"
`

// start runs it on c's machine, with the image of sandboxes.
func (d *containerd) start(c *cluster) {
	d.t.Helper()
	config, logPath := d.dir+"/config.toml", d.dir+"/log"
	if err := os.WriteFile(config, fmt.Appendf(nil, containerdConfig, d.dir, d.run), 0o600); err != nil {
		d.t.Fatal(err)
	}
	log, err := os.Create(logPath)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	daemon := exec.Command("containerd", "--config", config)
	daemon.Stdout, daemon.Stderr = log, log
	if err := c.Within(daemon.Start); err != nil {
		d.t.Fatal(err)
	}
	d.daemon = daemon
	c.eventually(20*time.Second, "containerd answers", func() bool { return d.ctr("version") == nil })
	pause := d.dir + "/pause.tar"
	d.buildPause(pause)
	if err := d.ctr("images", "import", pause); err != nil {
		d.t.Fatal(err)
	}
}

func (d *containerd) ctr(args ...string) error {
	out, err := exec.Command("ctr", append([]string{"--address", d.socket(), "--namespace", "k8s.io"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// buildPause makes the image of sandboxes: a program that waits for its end.
func (d *containerd) buildPause(file string) {
	d.t.Helper()
	const source = "package main\n\nimport (\"os\"; \"os/signal\"; \"syscall\")\n\n" +
		"func main() { c := make(chan os.Signal, 1); signal.Notify(c, syscall.SIGTERM, syscall.SIGINT); <-c }\n"
	if err := os.WriteFile(d.dir+"/pause.go", []byte(source), 0o600); err != nil {
		d.t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", d.dir+"/pause", d.dir+"/pause.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		d.t.Fatalf("compile pause: %v\n%s", err, out)
	}
	_, err := archive.BuildFile(file, archive.Spec{
		Names: []string{"registry.k8s.io/pause:3.6"}, Config: ocispec.ImageConfig{Entrypoint: []string{"/pause"}},
		Layers: [][]archive.File{{{Path: "/pause", Mode: 0o755, Source: d.dir + "/pause"}}},
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// stop ends it and whatever it still runs.
func (d *containerd) stop() {
	if d.t.Failed() {
		log, _ := os.ReadFile(d.dir + "/log") // there is none if it never started
		d.t.Logf("log of containerd:\n%s", log[max(0, len(log)-10000):])
	}
	if d.daemon != nil {
		err := d.daemon.Process.Signal(syscall.SIGTERM)
		var exit *exec.ExitError
		if end := d.daemon.Wait(); err != nil || end != nil && !errors.As(end, &exit) {
			d.t.Errorf("stop containerd: %v, %v", err, end)
		}
	}
	for _, p := range processes(d.t) { // its shims outlive it, and the containers them
		if ours, forgotten := d.started(p); ours {
			if !forgotten {
				d.t.Errorf("left: process %d %s", p.PID, p.Program)
			}
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				d.t.Error(err)
			}
		}
	}
	for _, at := range d.mounts() {
		d.t.Errorf("left: mount %s", at)
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			d.t.Error(err)
		}
	}
	if err := os.RemoveAll(d.run); err != nil {
		d.t.Error(err)
	}
	// The shims' sockets and ctr's container are in places that no configuration moves. Only what is empty goes: another containerd may
	// use them.
	groups, err := filepath.Glob("/sys/fs/cgroup/*/k8s.io")
	if err != nil {
		d.t.Error(err)
	}
	for _, dir := range append(groups, "/run/containerd/s", "/run/containerd/fifo", "/run/containerd/runc/k8s.io", "/run/containerd/runc", "/run/containerd") {
		_ = os.Remove(dir)
	}
}

// mounts lists what is mounted below its folders, the deepest first.
func (d *containerd) mounts() (found []string) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, d.run+"/") || strings.HasPrefix(at, filepath.Clean(d.dir)+"/") {
			found = append(found, at)
		}
	}
	slices.Reverse(found)
	return found
}

// left lists what it still has of pods, one thing a line.
func (d *containerd) left(add func(format string, args ...any)) {
	d.t.Helper()
	for _, at := range d.mounts() {
		add("mount %s", at)
	}
	for _, dir := range d.places() {
		for _, name := range namesIn(d.t, dir) {
			add("entry %s/%s", dir, name)
		}
	}
	add("%d shims", d.shims())
}

// places are where it has an entry for each sandbox: state, data, network.
func (d *containerd) places() []string {
	const plugin = "/io.containerd.grpc.v1.cri/"
	return []string{d.run + "/state" + plugin + "sandboxes", d.dir + "/root" + plugin + "sandboxes", d.run + "/state" + plugin + "netns"}
}

// shims counts the processes that keep its pods, one each.
func (d *containerd) shims() (n int) {
	d.t.Helper()
	for _, p := range processes(d.t) {
		if ours, forgotten := d.started(p); ours && !forgotten {
			n++
		}
	}
	return n
}

// started says whether a process is one of its shims. Of those that were making a container when the daemon that had asked for it was
// killed, or when the machine was busy, containerd forgets some: they hold nothing, and nobody but the user can end them
// (github.com/containerd/containerd/issues/6860).
func (d *containerd) started(p machine.Process) (ours, forgotten bool) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID)) // it may have ended
	args := strings.Split(string(text), "\x00")
	at := slices.Index(args, "-id")
	if !strings.HasPrefix(filepath.Base(p.Program), "containerd-shim") || !slices.Contains(args, d.socket()) || at < 0 || at+1 == len(args) {
		return false, false
	}
	_, err := os.Stat(filepath.Join(d.places()[1], args[at+1]))
	return true, os.IsNotExist(err)
}
