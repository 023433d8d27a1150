package oci

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/stage"
	"proa.dev/runtime/keeper/wire"
)

// External is any OCI runtime with runc's command line: runc, crun, youki, runsc, kata-runtime. The pod's keeper runs its
// commands, so that the container's process becomes the keeper's child; the root file system is mounted in the bundle on
// the host, because that is where such runtimes want it.
type External struct {
	path string // absolute path of the binary
	dir  string // for the sockets on which it hands terminals over: short, as their paths have at most 107 bytes
	root string // its state directory (--root)
}

var _ Runtime = (*External)(nil)

// NewExternal finds the binary. root is a directory for its state, made if missing.
func NewExternal(path, root string) (*External, error) {
	found, err := exec.LookPath(path)
	if err != nil {
		return nil, fmt.Errorf("OCI runtime %s: %w", path, err)
	}
	if found, err = filepath.Abs(found); err != nil {
		return nil, err
	}
	e := &External{path: found, dir: root, root: filepath.Join(root, filepath.Base(found))}
	return e, os.MkdirAll(root, 0o700)
}

func (e *External) command(args ...string) []string {
	return append([]string{e.path, "--root", e.root}, args...)
}

// console is a path for a socket.
func (e *External) console() string {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return filepath.Join(e.dir, "tty-"+hex.EncodeToString(b[:]))
}

func bundle(c *Container) string { return filepath.Join(c.Dir, "bundle") }

// Create implements Runtime.
func (e *External) Create(ctx context.Context, k *keeper.Keeper, c *Container) (wire.Created, error) {
	who, err := e.prepare(c)
	if err != nil {
		return who, errors.Join(err, e.Delete(ctx, c))
	}
	dir := bundle(c)
	m := wire.Create{
		ID: c.ID, Log: c.Log, Stdin: c.Stdin, StdinOnce: c.StdinOnce, TTY: c.Spec.Process.Terminal, PIDMode: c.PIDMode,
		OOMCounter: c.Cgroup.OOMCounter(), KillFile: c.Cgroup.KillFile(),
		PIDFile: filepath.Join(dir, "pid"), Release: e.command("start", c.ID),
	}
	args := []string{"--log", filepath.Join(dir, "log"), "--log-format", "json", "create", "--bundle", dir, "--pid-file", m.PIDFile}
	if m.TTY {
		m.Console = e.console()
		args = append(args, "--console-socket", m.Console)
	}
	m.External = e.command(append(args, c.ID)...)
	created, err := k.Create(ctx, m)
	if err != nil {
		if text := said(filepath.Join(dir, "log")); text != "" {
			err = errors.New(text)
		}
		return who, errors.Join(err, e.Delete(ctx, c))
	}
	who.PID = created.PID
	return who, nil
}

// prepare makes the bundle and looks the user up, as numbers are all that a specification takes.
func (e *External) prepare(c *Container) (wire.Created, error) {
	dir := bundle(c)
	root := filepath.Join(dir, "rootfs")
	if err := os.MkdirAll(root, 0o711); err != nil {
		return wire.Created{}, err
	}
	if err := mountOnHost(c.Root, root); err != nil {
		return wire.Created{}, err
	}
	who, err := stage.LookUp(&c.User, readIn(root))
	if err != nil {
		return wire.Created{}, err
	}
	spec := *c.Spec
	proc := *c.Spec.Process
	spec.Process, spec.Root = &proc, &specs.Root{Path: root, Readonly: c.Spec.Root.Readonly}
	proc.User = specs.User{UID: uint32(who.UID), GID: uint32(who.GID)}
	for _, g := range who.Groups {
		proc.User.AdditionalGids = append(proc.User.AdditionalGids, uint32(g))
	}
	linux := *c.Spec.Linux
	spec.Linux = &linux
	linux.CgroupsPath = c.Cgroup.Path()
	if c.PIDMode == wire.PIDTarget {
		return wire.Created{}, errors.New("joining the PID namespace of another container needs the built-in runtime")
	}
	if c.IDs.Size > 0 {
		return wire.Created{}, errors.New("user namespaces need the built-in runtime")
	}
	if len(c.Images) > 0 {
		return wire.Created{}, errors.New("image volumes need the built-in runtime")
	}
	data, err := json.Marshal(&spec)
	if err != nil {
		return wire.Created{}, err
	}
	created := wire.Created{UID: who.UID, GID: who.GID, Groups: who.Groups}
	return created, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600)
}

// mountOnHost mounts a container's root in the host's mount namespace.
func mountOnHost(r Root, at string) error {
	if r.Dir != "" {
		return os.NewSyscallError("bind root", unix.Mount(r.Dir, at, "", unix.MS_BIND|unix.MS_REC, ""))
	}
	data := "lowerdir=" + strings.Join(r.Lower, ":")
	if r.Upper != "" {
		data += ",upperdir=" + r.Upper + ",workdir=" + r.Work
	}
	return os.NewSyscallError("mount overlay", unix.Mount("overlay", at, "overlay", 0, data))
}

// readIn reads small files of a root without leaving it.
func readIn(root string) func(string) string {
	return func(path string) string {
		dir, err := os.OpenRoot(root)
		if err != nil {
			return ""
		}
		defer dir.Close()
		info, err := dir.Stat(strings.TrimPrefix(path, "/"))
		if err != nil || !info.Mode().IsRegular() || info.Size() > 4<<20 {
			return ""
		}
		data, err := dir.ReadFile(strings.TrimPrefix(path, "/"))
		if err != nil {
			return ""
		}
		return string(data)
	}
}

// said returns the last error in a runtime's log.
func said(log string) string {
	data, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	last := ""
	for line := range strings.Lines(string(data)) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "error" {
			last = entry.Msg
		}
	}
	// crun says it in other words than the ones that users know.
	if name, ok := strings.CutPrefix(last, "executable file `"); ok {
		if name, ok = strings.CutSuffix(name, "` not found in $PATH: No such file or directory"); ok {
			return fmt.Sprintf("exec: %q: executable file not found in $PATH", name)
		}
	}
	return last
}

// Start implements Runtime.
func (e *External) Start(ctx context.Context, k *keeper.Keeper, c *Container) (wire.State, error) {
	return k.Start(ctx, c.ID)
}

// Exec implements Runtime.
func (e *External) Exec(ctx context.Context, k *keeper.Keeper, c *Container, p Process) (*keeper.Streams, error) {
	dir, err := os.MkdirTemp(bundle(c), "exec-")
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(bundle(c), "config.json"))
	if err != nil {
		return nil, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, err
	}
	spec.Process.Args, spec.Process.Terminal = p.Args, p.TTY
	if data, err = json.Marshal(spec.Process); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "process.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return nil, err
	}
	m := wire.Exec{ID: c.ID, TTY: p.TTY, Stdin: p.Stdin}
	m.PIDFile = filepath.Join(dir, "pid")
	args := []string{"--log", filepath.Join(dir, "log"), "--log-format", "json", "exec", "--detach", "--pid-file", m.PIDFile, "--process", file}
	if p.TTY {
		m.Console = e.console()
		args = append(args, "--console-socket", m.Console)
	}
	m.External = e.command(append(args, c.ID)...)
	streams, err := k.Exec(ctx, m)
	if err != nil {
		if text := said(filepath.Join(dir, "log")); text != "" {
			err = errors.New(text)
		}
	}
	return streams, errors.Join(err, os.RemoveAll(dir))
}

// Delete implements Runtime.
func (e *External) Delete(ctx context.Context, c *Container) error {
	args := e.command("delete", "--force", c.ID)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil && !strings.Contains(string(out), "does not exist") {
		return fmt.Errorf("%s delete: %w: %s", e.path, err, strings.TrimSpace(string(out)))
	}
	root := filepath.Join(bundle(c), "rootfs")
	if err := unix.Unmount(root, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmount %s: %w", root, err)
	}
	if err := os.RemoveAll(bundle(c)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
