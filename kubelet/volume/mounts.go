package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/spec"
)

// Mounts are the volume mounts of one container, with subPaths resolved. The volumes must have been made by Sync. recursive says that the
// runtime makes mounts read-only with all that is mounted below them.
func (v *Volumes) Mounts(pod *core.Pod, c *core.Container, env []spec.Var, recursive bool) ([]*runtimeapi.Mount, error) {
	var out []*runtimeapi.Mount
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		vol := find(pod, m.Name)
		if vol == nil {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, c.Name)
		}
		sub, err := subPath(m, env)
		if err != nil {
			return nil, err
		}
		all, err := spec.RecursiveReadOnly(m, recursive)
		if err != nil {
			return nil, fmt.Errorf("failed to resolve recursive read-only mode: %w", err)
		}
		mount := &runtimeapi.Mount{
			ContainerPath: m.MountPath, Readonly: m.ReadOnly, Propagation: propagation(m.MountPropagation),
			RecursiveReadOnly: all,
		}
		if !filepath.IsAbs(mount.ContainerPath) {
			mount.ContainerPath = filepath.Join("/", mount.ContainerPath)
		}
		if vol.Image != nil {
			mount.Image = &runtimeapi.ImageSpec{Image: vol.Image.Reference, UserSpecifiedImage: vol.Image.Reference}
			mount.ImageSubPath, mount.Readonly = sub, true
			out = append(out, mount)
			continue
		}
		path, readOnly, err := v.Path(pod, vol)
		if err != nil {
			return nil, err
		}
		mount.HostPath = path
		mount.Readonly = mount.Readonly || readOnly
		if mount.Propagation == runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL {
			switch made, err := share(path); {
			case err != nil:
				return nil, err
			case made:
				v.Log.Info("mount is shared from now on: a container mounts for the node", "ns", pod.Namespace, "name", pod.Name, "container", c.Name, "path", path)
			}
		}
		if sub != "" {
			target := filepath.Join(v.Node.PodDir(pod.UID), "volume-subpaths", vol.Name, c.Name, strconv.Itoa(i))
			if mount.HostPath, err = bindSubPath(path, sub, target); err != nil {
				v.Log.Warn("subPath not prepared", "ns", pod.Namespace, "name", pod.Name, "container", c.Name, "volume", vol.Name, "err", err)
				// the detail could tell a tenant about the node's files
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q", m.Name, c.Name)
			}
		}
		out = append(out, mount)
	}
	return out, nil
}

func find(pod *core.Pod, name string) *core.Volume {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return &pod.Spec.Volumes[i]
		}
	}
	return nil
}

func propagation(p *core.MountPropagationMode) runtimeapi.MountPropagation {
	switch {
	case p == nil:
	case *p == core.MountPropagationHostToContainer:
		return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	case *p == core.MountPropagationBidirectional:
		return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
	}
	return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
}

func subPath(m *core.VolumeMount, env []spec.Var) (string, error) {
	sub := m.SubPath
	if m.SubPathExpr != "" {
		var missing []string
		lookup := spec.Lookup(env)
		sub = spec.Expand(m.SubPathExpr, func(name string) (string, bool) {
			value, ok := lookup(name)
			if !ok {
				missing = append(missing, name)
			}
			return value, ok
		})
		if len(missing) > 0 {
			return "", fmt.Errorf("missing value for %q", strings.Join(missing, ", "))
		}
	}
	if sub == "" {
		return "", nil
	}
	if filepath.IsAbs(sub) {
		return "", fmt.Errorf("error SubPath `%s` must not be an absolute path", sub)
	}
	for _, part := range strings.Split(sub, "/") {
		if part == ".." {
			return "", fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", sub)
		}
	}
	return filepath.Clean(sub), nil
}

// bindSubPath binds volume/sub to target and returns target. The path is resolved by the kernel beneath the volume, so no link that a
// container put there leads out of it; the bind is of the opened file, so no later change of the path matters.
func bindSubPath(volume, sub, target string) (string, error) {
	fd, isDir, err := openBeneath(volume, sub)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	source := "/proc/self/fd/" + strconv.Itoa(fd)
	if os.Geteuid() != 0 { // without privileges nothing can be mounted; the runtime will hardly do better
		return os.Readlink(source)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return "", err
	}
	if isMountPoint(target) { // of an earlier instance of the container
		if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return "", err
		}
	}
	if err := mountTarget(target, isDir); err != nil {
		return "", err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("bind: %w", err)
	}
	return target, nil
}

func mountTarget(target string, isDir bool) error {
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if isDir {
		return os.Mkdir(target, 0o750)
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	return f.Close()
}

var beneath = unix.OpenHow{
	Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
}

// openBeneath opens root/sub, making directories that are missing with the mode of the volume.
func openBeneath(root, sub string) (fd int, isDir bool, err error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, false, err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return -1, false, err
	}
	fd, err = unix.Openat2(dir, sub, &beneath)
	if errors.Is(err, unix.ENOENT) {
		if err := makeBeneath(dir, sub, st.Mode&0o7777); err != nil {
			return -1, false, err
		}
		fd, err = unix.Openat2(dir, sub, &beneath)
	}
	if err != nil {
		return -1, false, err
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, false, errors.Join(err, unix.Close(fd))
	}
	return fd, st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

func makeBeneath(root int, sub string, mode uint32) error {
	at, err := unix.Openat2(root, ".", &beneath)
	if err != nil {
		return err
	}
	defer func() { unix.Close(at) }()
	walked := ""
	for _, part := range strings.Split(sub, "/") {
		err := unix.Mkdirat(at, part, 0o700)
		made := err == nil
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		walked = filepath.Join(walked, part)
		next, err := unix.Openat2(root, walked, &beneath)
		if err != nil {
			return err
		}
		unix.Close(at)
		at = next
		if made { // whatever the umask; by the opened file, since O_PATH has no fchmod
			if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(at), mode); err != nil {
				return err
			}
		}
	}
	return nil
}
