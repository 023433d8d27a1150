package container

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mounts are the kernel's file systems, the pod's files, and the volumes, parents before children.
func mounts(in Input) ([]specs.Mount, error) {
	sc := in.Config.GetLinux().GetSecurityContext()
	ids, err := IDs(in.Pod)
	if err != nil {
		return nil, err
	}
	access := "ro"
	if sc.GetPrivileged() {
		access = "rw"
	}
	all := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	taken := map[string]bool{}
	for _, m := range in.Config.Mounts {
		taken[filepath.Clean(m.ContainerPath)] = true
	}
	all = slices.DeleteFunc(all, func(m specs.Mount) bool { return taken[m.Destination] && m.Destination != "/dev" })
	if taken["/dev"] {
		all = slices.DeleteFunc(all, func(m specs.Mount) bool { return strings.HasPrefix(m.Destination, "/dev") })
	}
	own := func(path, source string, options ...string) {
		if source != "" && !taken[path] && !(taken["/dev"] && strings.HasPrefix(path, "/dev")) {
			m := specs.Mount{Destination: path, Type: "bind", Source: source, Options: append([]string{"rbind", "rprivate"}, options...)}
			m.UIDMappings, m.GIDMappings = mapped(ids)
			all = append(all, m)
		}
	}
	own("/dev/shm", in.Files.SHM, "rw", "nosuid", "nodev", "noexec")
	fileAccess := "rw"
	if sc.GetReadonlyRootfs() {
		fileAccess = "ro"
	}
	own("/etc/resolv.conf", in.Files.ResolvConf, fileAccess)
	own("/etc/hostname", in.Files.Hostname, fileAccess)

	volumes := make([]specs.Mount, 0, len(in.Config.Mounts))
	for _, m := range in.Config.Mounts {
		if m.GetImage().GetImage() != "" {
			continue // laid out by the caller, who has the images
		}
		v, err := volume(m)
		if err != nil {
			return nil, err
		}
		if own, err := mountIDs(m, ids); err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.ContainerPath, err)
		} else if own {
			v.UIDMappings, v.GIDMappings = mapped(ids)
		}
		volumes = append(volumes, v)
	}
	slices.SortStableFunc(volumes, func(a, b specs.Mount) int { return depth(a.Destination) - depth(b.Destination) })
	return append(all, volumes...), nil
}

func depth(path string) int { return strings.Count(filepath.Clean(path), "/") }

// volume turns a CRI mount into a bind.
func volume(m *runtimeapi.Mount) (specs.Mount, error) {
	out := specs.Mount{Destination: filepath.Clean("/" + m.ContainerPath), Type: "bind", Source: m.HostPath}
	if out.Destination == "/" {
		return out, fmt.Errorf("mount %s: a container's root cannot be mounted over", m.HostPath)
	}
	source, err := filepath.EvalSymlinks(m.HostPath)
	if err != nil {
		return out, fmt.Errorf("mount %s: %w", m.ContainerPath, err)
	}
	out.Source = source
	out.Options = []string{"rbind"}
	switch m.Propagation {
	case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		out.Options = append(out.Options, "rslave")
	case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
		out.Options = append(out.Options, "rshared")
	default:
		out.Options = append(out.Options, "rprivate")
	}
	switch {
	case m.RecursiveReadOnly && !m.Readonly:
		return out, fmt.Errorf("mount %s: recursive read-only needs read-only", m.ContainerPath)
	case m.RecursiveReadOnly && m.Propagation != runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		return out, fmt.Errorf("mount %s: recursive read-only needs private propagation", m.ContainerPath)
	case m.RecursiveReadOnly:
		out.Options = append(out.Options, "rro")
	case m.Readonly:
		out.Options = append(out.Options, "ro")
	}
	out.Options = append(out.Options, m.MountOptions...)
	return out, nil
}

// rootPropagation is what other OCI runtimes want to know of the root's mount, without which volumes could not propagate.
func rootPropagation(c *runtimeapi.ContainerConfig) string {
	out := ""
	for _, m := range c.Mounts {
		switch m.Propagation {
		case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
			return "rshared"
		case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
			out = "rslave"
		}
	}
	return out
}

// ImageMounts returns the mounts of a container that are images.
func ImageMounts(c *runtimeapi.ContainerConfig) []*runtimeapi.Mount {
	var list []*runtimeapi.Mount
	for _, m := range c.Mounts {
		if m.GetImage().GetImage() != "" {
			list = append(list, m)
		}
	}
	return list
}

// hostDevices walks the host's /dev for a privileged container. Terminals, shared memory and message queues are the
// container's own.
func hostDevices(dir string, f func(path string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			switch e.Name() {
			case "pts", "shm", "mqueue", "fd", ".lxc", ".lxd-mounts", ".udev":
				continue
			}
			if err := hostDevices(path, f); err != nil {
				return err
			}
		case e.Name() == "console" || e.Name() == "ptmx":
		case e.Type()&os.ModeDevice != 0:
			if err := f(path); err != nil {
				return err
			}
		}
	}
	return nil
}
