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
)

// TestContainerd is the main job with Debian's containerd and runc in place of proa's own runtime.
func TestContainerd(t *testing.T) {
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
	other := newContainerd(t) // before the cluster, so that it stops after the cluster is gone
	c := newCluster(t, fmt.Sprintf("runtime:\n  endpoint: unix://%s\nnetwork:\n  cniConf: %s\n", other.socket(), other.conf()))

	out, err := c.Command("proa", "up").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no such socket") || !strings.Contains(string(out), "runtime.endpoint") {
		t.Fatalf("proa up without containerd: %v\n%s", err, out)
	}
	other.start(c)
	t.Log(c.proa("up"))
	if out, err := c.Command("proa", "image", "ls").CombinedOutput(); err == nil || !strings.Contains(string(out), other.socket()) {
		t.Errorf("proa image ls: %v\n%s", err, out)
	}
	before := c.inventory()
	c.deployShop()
	body, err := c.page()
	if err != nil {
		t.Fatalf("fetch the page: %v", err)
	}
	for _, want := range []string{"store by name: store:6379", "store by environment: 10.43."} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q:\n%s", want, body)
		}
	}
	c.killedContainerComesBack()
	c.serviceSpreadsOver(5)
	c.updateWithoutAFailedRequest()
	c.deletedPodIsReplaced()
	if log := c.kubectl("-n", "shop", "logs", "deployment/web"); !strings.Contains(log, "8080") {
		t.Errorf("log of the web: %q", log)
	}
	c.says(t, []string{"-n", "shop", "exec", "deployment/web", "--", "/web", "-version"}, "web v2")
	other.keepsForeignPods(c)
	c.proa("up")
	c.kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s")
	c.eventually(30*time.Second, "the page is served again", func() bool { _, err := c.page(); return err == nil })

	c.kubectl("delete", "namespace", "shop", "--timeout=60s")
	c.inventoryIs(before)
}

// containerd is a containerd of the test's own, apart from any other on this host.
type containerd struct {
	t        *testing.T
	dir, run string
	daemon   *exec.Cmd // nil until it runs
}

func newContainerd(t *testing.T) *containerd {
	t.Helper()
	run, err := os.MkdirTemp("/run", "ctrd-test-") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	d := &containerd{t: t, dir: t.TempDir(), run: run}
	t.Cleanup(d.stop)
	return d
}

func (d *containerd) socket() string { return d.run + "/containerd.sock" }
func (d *containerd) conf() string   { return d.dir + "/net.d" }

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

// start runs it on c's machine, with the images of the shop and of sandboxes.
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
	for _, file := range []string{pause, c.Bin + "/images/shop-web.tar", c.Bin + "/images/shop-store.tar"} {
		if err := d.ctr("images", "import", file); err != nil {
			d.t.Fatal(err)
		}
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

// keepsForeignPods stops the node while a container of somebody else runs in containerd, which must be left alone.
func (d *containerd) keepsForeignPods(c *cluster) {
	d.t.Helper()
	if err := d.ctr("run", "--detach", "registry.k8s.io/pause:3.6", "somebody"); err != nil {
		d.t.Fatal(err)
	}
	d.t.Log(c.proa("down"))
	out, err := exec.Command("ctr", "--address", d.socket(), "--namespace", "k8s.io", "tasks", "ls").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "somebody") || strings.Count(string(out), "RUNNING") != 1 {
		d.t.Errorf("after proa down containerd runs: %v\n%s", err, out)
	}
	if err := d.ctr("tasks", "kill", "--signal", "KILL", "somebody"); err != nil {
		d.t.Error(err)
	}
	c.eventually(10*time.Second, "the other container is removed", func() bool { return d.ctr("tasks", "rm", "somebody") == nil })
	if err := d.ctr("containers", "rm", "somebody"); err != nil {
		d.t.Error(err)
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
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID)) // it may have ended
		if strings.Contains(string(command), "\x00"+d.socket()) {
			d.t.Errorf("left: process %d %s", p.PID, strings.ReplaceAll(string(command), "\x00", " "))
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
