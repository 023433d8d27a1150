package ocitest

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"proa.dev/runtime/cgroup"
	"proa.dev/runtime/keeper/wire"
	"proa.dev/runtime/oci"
	"proa.dev/runtime/oci/seccomp"
)

// NewFunc makes the implementation under test for a pod.
type NewFunc func(t testing.TB, p *Pod) oci.Runtime

// ociVersion is one that older runtimes know too.
const ociVersion = "1.0.2"

// Spec returns a plain specification: the box with args, the usual mounts and devices, no limits.
func Spec(args ...string) *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_NET_BIND_SERVICE"}
	return &specs.Spec{
		Version: ociVersion,
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin"}, NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps},
		},
		Root: &specs.Root{Path: "rootfs"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		Linux: &specs.Linux{
			Namespaces:    []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}},
			Resources:     &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}},
			MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/proc/scsi", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/sys", "/proc/bus"},
			Devices: []specs.LinuxDevice{{Path: "/dev/null", Type: "c", Major: 1, Minor: 3}, {Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
				{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9}},
		},
	}
}

// ran is what came of a container.
type ran struct {
	state  wire.State
	stdout string
	stderr string
}

// run creates, starts and awaits a container.
func run(t *testing.T, p *Pod, rt oci.Runtime, change func(*oci.Container), args ...string) (ran, error) {
	t.Helper()
	c := container(t, p, args...)
	if change != nil {
		change(c)
	}
	if _, err := rt.Create(t.Context(), p.Keeper, c); err != nil {
		return ran{}, err
	}
	if _, err := rt.Start(t.Context(), p.Keeper, c); err != nil {
		return ran{}, err
	}
	r := ran{state: p.AwaitExit(t, c.ID)}
	r.stdout, r.stderr = Logged(t, c.Log)
	must(t, p.Keeper.Forget(t.Context(), c.ID))
	must(t, rt.Delete(t.Context(), c))
	return r, nil
}

func container(t *testing.T, p *Pod, args ...string) *oci.Container {
	t.Helper()
	id := "c" + regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(t.Name()), "-")
	dir := filepath.Join(t.TempDir(), id)
	must(t, os.MkdirAll(dir, 0o700))
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	must(t, os.Mkdir(upper, 0o755))
	must(t, os.Mkdir(work, 0o755))
	g := p.Group(t, id)
	t.Cleanup(func() {
		if err := g.Remove(); err != nil {
			t.Errorf("remove cgroup: %v", err)
		}
	})
	return &oci.Container{ID: id, Dir: dir, Spec: Spec(args...), Cgroup: g, Log: filepath.Join(dir, "log"), CgroupNS: true,
		Root: oci.Root{Lower: []string{RootFS(t)}, Upper: upper, Work: work}}
}

// Logged returns what a CRI log holds, joined again.
func Logged(t testing.TB, path string) (stdout, stderr string) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(f) != 4 {
			t.Fatalf("not a CRI log line: %q", line)
		}
		text := f[3]
		if f[2] == "F" {
			text += "\n"
		}
		if f[1] == "stdout" {
			stdout += text
		} else {
			stderr += text
		}
	}
	return stdout, stderr
}

// Run runs the suite.
func Run(t *testing.T, newRuntime NewFunc) {
	p := NewPod(t, wire.Setup{Hostname: "pod-host"})
	rt := newRuntime(t, p)
	for name, test := range map[string]func(*testing.T, *Pod, oci.Runtime){
		"Streams": testStreams, "ExitCode": testExitCode, "Missing": testMissing, "User": testUser, "Files": testFiles,
		"Exec": testExec, "Terminal": testTerminal, "Confined": testConfined, "OutOfMemory": testOutOfMemory, "Kill": testKill,
		"Binds": testBinds,
	} {
		t.Run(name, func(t *testing.T) { test(t, p, rt) })
	}
}

func testStreams(t *testing.T, p *Pod, rt oci.Runtime) {
	r, err := run(t, p, rt, nil, "box", "both")
	must(t, err)
	if r.stdout != "to stdout\n" || r.stderr != "to stderr\n" {
		t.Errorf("logged %q and %q", r.stdout, r.stderr)
	}
}

func testExitCode(t *testing.T, p *Pod, rt oci.Runtime) {
	r, err := run(t, p, rt, nil, "box", "exit", "42")
	must(t, err)
	if r.state.ExitCode != 42 {
		t.Errorf("exit code %d, want 42", r.state.ExitCode)
	}
}

func testMissing(t *testing.T, p *Pod, rt oci.Runtime) {
	_, err := run(t, p, rt, nil, "nope")
	if err == nil || !strings.Contains(err.Error(), `exec: "nope": executable file not found in $PATH`) {
		t.Errorf("got error %v, want the one that users know", err)
	}
}

func testUser(t *testing.T, p *Pod, rt oci.Runtime) {
	r, err := run(t, p, rt, func(c *oci.Container) { c.User = wire.User{Spec: "alice", Groups: []uint64{77}} }, "box", "id")
	must(t, err)
	if want := "uid 1000 gid 1001 groups [1001 77 50]\n"; r.stdout != want && r.stdout != "uid 1000 gid 1001 groups [50 77 1001]\n" {
		t.Errorf("got %q, want %q", r.stdout, want)
	}
}

// running starts a container that sleeps, and ends it with the test.
func running(t *testing.T, p *Pod, rt oci.Runtime, change func(*oci.Container)) *oci.Container {
	t.Helper()
	c := container(t, p, "box", "sleep", "1h")
	if change != nil {
		change(c)
	}
	_, err := rt.Create(t.Context(), p.Keeper, c)
	must(t, err)
	_, err = rt.Start(t.Context(), p.Keeper, c)
	must(t, err)
	t.Cleanup(func() {
		ctx := context.Background()
		must(t, p.Keeper.Signal(ctx, wire.Signal{ID: c.ID, Signal: int64(unix.SIGKILL), All: true}))
		if s := p.AwaitExit(t, c.ID); s.ExitCode != 137 {
			t.Errorf("killed container ended with %d", s.ExitCode)
		}
		must(t, p.Keeper.Forget(ctx, c.ID))
		must(t, rt.Delete(ctx, c))
	})
	return c
}

// execute runs a process to its end and returns what it wrote and its code.
func execute(t *testing.T, p *Pod, rt oci.Runtime, c *oci.Container, proc oci.Process, input string) (string, int64) {
	t.Helper()
	s, err := rt.Exec(t.Context(), p.Keeper, c, proc)
	must(t, err)
	defer s.Conn.Close()
	if proc.Stdin {
		must(t, wire.WriteFrame(s.Conn, wire.KindStdin, []byte(input)))
		must(t, wire.WriteFrame(s.Conn, wire.KindStdin, nil))
	}
	out := ""
	for {
		kind, payload, err := wire.ReadFrame(s.Conn, nil)
		must(t, err)
		switch kind {
		case wire.KindStdout, wire.KindStderr:
			out += string(payload)
		case wire.KindExecExit:
			return out, wire.NewDecoder(payload).Int()
		}
	}
}

func testExec(t *testing.T, p *Pod, rt oci.Runtime) {
	c := running(t, p, rt, nil)
	if out, code := execute(t, p, rt, c, oci.Process{Args: []string{"box", "cat"}, Stdin: true}, "in and out\n"); out != "in and out\n" || code != 0 {
		t.Errorf("got %q, %d", out, code)
	}
	if _, code := execute(t, p, rt, c, oci.Process{Args: []string{"box", "exit", "5"}}, ""); code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
	if out, _ := execute(t, p, rt, c, oci.Process{Args: []string{"box", "ps"}}, ""); !strings.HasPrefix(out, "1 box sleep 1h\n") {
		t.Errorf("processes %q", out)
	}
}

func testTerminal(t *testing.T, p *Pod, rt oci.Runtime) {
	r, err := run(t, p, rt, func(c *oci.Container) { c.Spec.Process.Terminal = true }, "box", "tty")
	must(t, err)
	if !strings.HasPrefix(r.stdout, "tty true true\r\n") {
		t.Errorf("container: %q", r.stdout)
	}
	c := running(t, p, rt, nil)
	if out, _ := execute(t, p, rt, c, oci.Process{Args: []string{"box", "tty"}, TTY: true}, ""); !strings.HasPrefix(out, "tty true true\r\n") {
		t.Errorf("exec: %q", out)
	}
}

func testConfined(t *testing.T, p *Pod, rt oci.Runtime) {
	r, err := run(t, p, rt, func(c *oci.Container) {
		c.Spec.Linux.Seccomp = seccomp.Default(c.Spec.Process.Capabilities.Bounding)
	}, "box", "status", "CapEff", "NoNewPrivs", "Seccomp")
	must(t, err)
	if want := "CapEff 00000000000004e1\nNoNewPrivs 1\nSeccomp 2\n"; r.stdout != want {
		t.Errorf("got %q, want %q", r.stdout, want)
	}
}

func testOutOfMemory(t *testing.T, p *Pod, rt oci.Runtime) {
	r, err := run(t, p, rt, func(c *oci.Container) { must(t, c.Cgroup.Apply(cgroup.Limits{Memory: 32 << 20})) }, "box", "eat", "200")
	must(t, err)
	if !r.state.OOMKilled || r.state.ExitCode != 137 {
		t.Errorf("state %+v", r.state)
	}
}

func testKill(t *testing.T, p *Pod, rt oci.Runtime) {
	c := running(t, p, rt, nil)
	must(t, p.Keeper.Signal(t.Context(), wire.Signal{ID: c.ID, Signal: int64(unix.SIGURG)})) // ignored by default
	if out, _ := execute(t, p, rt, c, oci.Process{Args: []string{"box", "echo", "alive"}}, ""); out != "alive\n" {
		t.Errorf("got %q", out)
	}
}

func testBinds(t *testing.T, p *Pod, rt oci.Runtime) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("bound\n"), 0o644))
	bind := func(options ...string) func(*oci.Container) {
		return func(c *oci.Container) {
			c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: "/a/b", Type: "bind", Source: dir, Options: append(options, "rbind")})
		}
	}
	r, err := run(t, p, rt, bind("rprivate"), "box", "cat", "/a/b/f")
	must(t, err)
	if r.stdout != "bound\n" {
		t.Errorf("got %q, %q", r.stdout, r.stderr)
	}
	t.Run("read-only", func(t *testing.T) {
		r, err := run(t, p, rt, bind("rprivate", "ro"), "box", "write", "/a/b/g", "x")
		must(t, err)
		if !strings.Contains(r.stderr, "read-only file system") {
			t.Errorf("got %q", r.stderr)
		}
	})
}

func testFiles(t *testing.T, p *Pod, rt oci.Runtime) {
	r, err := run(t, p, rt, func(c *oci.Container) { c.Spec.Process.Cwd = "/made/here" }, "box", "pwd")
	must(t, err)
	if r.stdout != "/made/here\n" {
		t.Errorf("working directory %q", r.stdout)
	}
}
