package oci

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"proa.dev/runtime/cgroup"
	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/wire"
	"proa.dev/runtime/oci/seccomp"
)

// Builtin is proa's own OCI runtime: the specification is translated here, in the daemon, into steps for the keeper's first
// stage, which takes them without a decision of its own.
type Builtin struct {
	tree *cgroup.Tree
	at   string // empty directory over which roots are mounted inside each container's mount namespace

	mu      sync.Mutex                 // guards filters
	filters map[string]seccomp.Program // compiled profiles by their capabilities, for the default profile
}

var _ Runtime = (*Builtin)(nil)

// NewBuiltin returns the built-in runtime. at is an existing empty directory.
func NewBuiltin(tree *cgroup.Tree, at string) *Builtin {
	return &Builtin{tree: tree, at: at, filters: map[string]seccomp.Program{}}
}

// Create implements Runtime.
func (b *Builtin) Create(ctx context.Context, k *keeper.Keeper, c *Container) (wire.Created, error) {
	launch, err := b.launch(c)
	if err != nil {
		return wire.Created{}, err
	}
	return k.Create(ctx, wire.Create{
		ID: c.ID, Log: c.Log, Stdin: c.Stdin, StdinOnce: c.StdinOnce, TTY: launch.Process.TTY,
		PIDMode: c.PIDMode, PIDTarget: c.PIDTarget,
		CgroupDir: c.Cgroup.Dir(), CgroupProcs: c.Cgroup.Procs(),
		OOMCounter: c.Cgroup.OOMCounter(), KillFile: c.Cgroup.KillFile(),
		Launch: launch.Encode(),
	})
}

// Start implements Runtime.
func (b *Builtin) Start(ctx context.Context, k *keeper.Keeper, c *Container) (wire.State, error) {
	return k.Start(ctx, c.ID)
}

// Exec implements Runtime.
func (b *Builtin) Exec(ctx context.Context, k *keeper.Keeper, c *Container, p Process) (*keeper.Streams, error) {
	proc, err := b.process(c)
	if err != nil {
		return nil, err
	}
	proc.Args, proc.TTY, proc.Width, proc.Height = p.Args, p.TTY, p.Width, p.Height
	return k.Exec(ctx, wire.Exec{
		ID: c.ID, TTY: p.TTY, Stdin: p.Stdin,
		CgroupDir: c.Cgroup.Dir(), CgroupProcs: c.Cgroup.Procs(),
		Launch: wire.Launch{Process: proc, IDs: c.IDs}.Encode(),
	})
}

// Delete implements Runtime: everything the built-in runtime makes ends with the container's process.
func (b *Builtin) Delete(context.Context, *Container) error { return nil }

// launch translates a specification.
func (b *Builtin) launch(c *Container) (wire.Launch, error) {
	s := c.Spec
	if s.Hooks != nil {
		return wire.Launch{}, errors.New("hooks need another OCI runtime: name one as the handler of a RuntimeClass")
	}
	l := wire.Launch{
		Root: wire.Root{Lower: c.Root.Lower, Upper: c.Root.Upper, Work: c.Root.Work, Dir: c.Root.Dir, At: b.at,
			ReadOnly: s.Root != nil && s.Root.Readonly},
		CgroupNS: c.CgroupNS, IDs: c.IDs,
	}
	var err error
	if l.Process, err = b.process(c); err != nil {
		return l, err
	}
	for _, m := range s.Mounts {
		if m.Type == "cgroup" {
			l.Mounts = append(l.Mounts, b.cgroupMounts(m)...)
			continue
		}
		mount, err := translateMount(m)
		if err != nil {
			return l, err
		}
		if len(m.UIDMappings) > 0 {
			l.Mapped = append(l.Mapped, uint64(len(l.Mounts)))
		}
		l.Mounts = append(l.Mounts, mount)
	}
	for _, m := range c.Images {
		l.Mounts = append(l.Mounts, wire.Mount{Target: m.Target, FSType: "overlay", Lower: m.Lower, SubPath: m.SubPath, Attr: m.Attr})
	}
	if s.Linux == nil {
		return l, nil
	}
	for _, d := range s.Linux.Devices {
		dev, err := translateDevice(d)
		if err != nil {
			return l, err
		}
		l.Devices = append(l.Devices, dev)
	}
	l.Masked, l.ReadOnly = s.Linux.MaskedPaths, s.Linux.ReadonlyPaths
	for name, value := range s.Linux.Sysctl {
		l.Sysctls = append(l.Sysctls, wire.KeyValue{Key: name, Value: value})
	}
	return l, nil
}

// process translates the specification's process.
func (b *Builtin) process(c *Container) (wire.Process, error) {
	p := c.Spec.Process
	out := wire.Process{Args: p.Args, Env: p.Env, Cwd: p.Cwd, User: c.User, TTY: p.Terminal, NoNewPrivs: p.NoNewPrivileges,
		AppArmor: p.ApparmorProfile, SELinux: p.SelinuxLabel}
	if p.ConsoleSize != nil {
		out.Width, out.Height = uint64(p.ConsoleSize.Width), uint64(p.ConsoleSize.Height)
	}
	if p.OOMScoreAdj != nil {
		out.OOMScore, out.HasOOMScore = int64(*p.OOMScoreAdj), true
	}
	if p.User.Umask != nil {
		out.Umask, out.HasUmask = uint64(*p.User.Umask), true
	}
	if caps := p.Capabilities; caps != nil {
		for _, set := range []struct {
			names []string
			mask  *uint64
		}{{caps.Bounding, &out.Caps.Bounding}, {caps.Permitted, &out.Caps.Permitted}, {caps.Effective, &out.Caps.Effective},
			{caps.Inheritable, &out.Caps.Inheritable}, {caps.Ambient, &out.Caps.Ambient}} {
			for _, name := range set.names {
				n, ok := Capability(name)
				if !ok {
					return out, fmt.Errorf("unknown capability %q", name)
				}
				*set.mask |= 1 << n
			}
		}
	}
	for _, r := range p.Rlimits {
		kind := slices.Index(rlimits[:], r.Type)
		if kind < 0 {
			return out, fmt.Errorf("unknown rlimit %q", r.Type)
		}
		out.Rlimits = append(out.Rlimits, wire.Rlimit{Kind: uint64(kind), Soft: r.Soft, Hard: r.Hard})
	}
	if c.Spec.Linux == nil || c.Spec.Linux.Seccomp == nil {
		return out, nil
	}
	prog, err := b.filter(c.Spec)
	out.Seccomp, out.SecFlags = prog.Code, prog.Flags
	return out, err
}

// filter compiles the seccomp profile; the default profile once for each set of capabilities.
func (b *Builtin) filter(s *specs.Spec) (seccomp.Program, error) {
	if s.Annotations[DefaultSeccomp] == "" {
		return seccomp.Compile(s.Linux.Seccomp)
	}
	key := strings.Join(s.Process.Capabilities.Bounding, ",")
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, ok := b.filters[key]; ok {
		return p, nil
	}
	p, err := seccomp.Compile(s.Linux.Seccomp)
	if err == nil {
		b.filters[key] = p
	}
	return p, err
}

// DefaultSeccomp is an annotation of specifications whose seccomp profile is the default for their bounding capabilities.
const DefaultSeccomp = "proa.dev/default-seccomp"

// rlimits are the names of resource limits at their numbers.
var rlimits = [...]string{"RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS",
	"RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE",
	"RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"}

// cgroupMounts shows a container its own groups: the v2 tree, or the v1 hierarchies in which it has a group. With a cgroup
// namespace the roots of these mounts are the container's groups.
func (b *Builtin) cgroupMounts(m specs.Mount) []wire.Mount {
	attr := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC)
	own := attr
	if slices.Contains(m.Options, "ro") {
		own |= unix.MOUNT_ATTR_RDONLY
	}
	if b.tree.Pure() {
		return []wire.Mount{{Target: m.Destination, FSType: "cgroup2", Source: "cgroup", Attr: own}}
	}
	mounts := []wire.Mount{{Target: m.Destination, FSType: "tmpfs", Source: "tmpfs", Data: "mode=755,size=64k,nr_inodes=64", Attr: attr}}
	v1 := b.tree.V1()
	for _, c := range [...]string{"memory", "cpu", "cpuacct", "pids", "devices"} {
		if v1[c] != "" {
			mounts = append(mounts, wire.Mount{Target: m.Destination + "/" + c, FSType: "cgroup", Source: "cgroup", Data: c,
				Attr: own, Optional: true})
		}
	}
	return mounts
}

// attributes are mount options that are flags of a mount.
var attributes = map[string]uint64{
	"ro": unix.MOUNT_ATTR_RDONLY, "nosuid": unix.MOUNT_ATTR_NOSUID, "nodev": unix.MOUNT_ATTR_NODEV,
	"noexec": unix.MOUNT_ATTR_NOEXEC, "noatime": unix.MOUNT_ATTR_NOATIME, "strictatime": unix.MOUNT_ATTR_STRICTATIME,
	"nodiratime": unix.MOUNT_ATTR_NODIRATIME, "nosymfollow": unix.MOUNT_ATTR_NOSYMFOLLOW,
	"relatime": 0, "rw": 0, "suid": 0, "dev": 0, "exec": 0, "defaults": 0,
}

// translateMount turns a mount of a specification into one of the first stage.
func translateMount(m specs.Mount) (wire.Mount, error) {
	out := wire.Mount{Target: m.Destination, FSType: m.Type, Source: m.Source, Optional: m.Type == "mqueue"}
	if !strings.HasPrefix(m.Destination, "/") {
		return out, fmt.Errorf("mount target %q is not absolute", m.Destination)
	}
	var data []string
	for _, opt := range m.Options {
		if bit, ok := attributes[opt]; ok {
			out.Attr |= bit
			continue
		}
		switch opt {
		case "bind":
			out.FSType = ""
		case "rbind":
			out.FSType, out.Recursive = "", true
		case "rro":
			out.RecursiveRO, out.Recursive = true, true
			out.Attr |= unix.MOUNT_ATTR_RDONLY
		case "private", "rprivate":
			out.Propagation = wire.PropagatePrivate
		case "slave", "rslave":
			out.Propagation = wire.PropagateSlave
		case "shared", "rshared":
			out.Propagation = wire.PropagateShared
		default:
			data = append(data, opt)
		}
	}
	if out.FSType == "bind" {
		out.FSType = ""
	}
	if out.FSType == "" && len(data) > 0 {
		return out, fmt.Errorf("mount %s: a bind does not take the options %s", m.Destination, strings.Join(data, ","))
	}
	out.Data = strings.Join(data, ",")
	return out, nil
}

// translateDevice turns a device of a specification into one of the first stage.
func translateDevice(d specs.LinuxDevice) (wire.Device, error) {
	out := wire.Device{Path: d.Path, Mode: 0o666, Major: uint64(d.Major), Minor: uint64(d.Minor)}
	if d.FileMode != nil {
		out.Mode = uint64(*d.FileMode) & 0o7777
	}
	switch d.Type {
	case "c", "u":
		out.Mode |= unix.S_IFCHR
	case "b":
		out.Mode |= unix.S_IFBLK
	case "p":
		out.Mode |= unix.S_IFIFO
	default:
		return out, fmt.Errorf("device %s has unknown type %q", d.Path, d.Type)
	}
	if d.Major < 0 || d.Minor < 0 || d.Major > math.MaxUint32 || d.Minor > math.MaxUint32 {
		return out, fmt.Errorf("device %s has impossible number %d:%d", d.Path, d.Major, d.Minor)
	}
	if d.UID != nil {
		out.UID = uint64(*d.UID)
	}
	if d.GID != nil {
		out.GID = uint64(*d.GID)
	}
	return out, nil
}
