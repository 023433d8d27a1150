package lun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mounting is how a disk's file system is to be mounted.
type mounting struct {
	fsType   string
	options  []string
	readOnly bool
}

// how reads it from a volume.
func how(v *Volume) mounting {
	m := mounting{readOnly: v.ReadOnly, fsType: "ext4"}
	name := ""
	if v.kind() == fc {
		name = v.fc().FSType
	} else {
		name = v.iscsi().FSType
	}
	if name != "" {
		m.fsType = name
	}
	if v.PV != nil {
		m.options = slices.Clone(v.PV.Spec.MountOptions)
	}
	m.readOnly = m.readOnly || slices.Contains(m.options, "ro")
	if m.readOnly && !slices.Contains(m.options, "ro") {
		m.options = append(m.options, "ro")
	}
	return m
}

// mount mounts a disk. An empty one gets a file system before; one that may be written is checked before.
func (s *Disks) mount(ctx context.Context, device, dir string, m mounting) error {
	if strings.ContainsAny(m.fsType, "/ ") || strings.HasPrefix(m.fsType, "-") {
		return fmt.Errorf("%q is not the name of a file system", m.fsType)
	}
	have, err := s.format(ctx, device)
	if err != nil {
		return fmt.Errorf("failed to get disk format of disk %s: %w", device, err)
	}
	switch {
	case have == "" && m.readOnly:
		return fmt.Errorf("cannot mount unformatted disk %s as we are manipulating it in read-only mode", device)
	case have == "":
		s.Log.Info("making a file system on an empty disk", "device", device, "type", m.fsType)
		if err := s.makeFileSystem(ctx, device, m.fsType); err != nil {
			return err
		}
	case !m.readOnly:
		if err := s.check(ctx, device); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	args := []string{"-t", m.fsType, "-o", strings.Join(append(m.options, "defaults"), ","), device, dir}
	out, code, err := s.command(ctx, "mount", args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("mount failed: exit status %d\nMounting command: mount\nMounting arguments: %s\nOutput: %s", code, strings.Join(args, " "), strings.TrimSpace(out))
	}
	if err == nil || isMountPoint(dir) {
		return err
	}
	return errors.Join(err, os.Remove(dir))
}

// noFormat is the exit code of blkid for a disk with nothing on it.
const noFormat = 2

// format is what is on a disk: the type of a file system, some other word, or "" for nothing.
func (s *Disks) format(ctx context.Context, device string) (string, error) {
	out, code, err := s.command(ctx, "blkid", "-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", device)
	if err != nil || code == noFormat {
		return "", err
	}
	if err := ended("blkid", code, out); err != nil {
		return "", err
	}
	return parseFormat(out)
}

// parseFormat reads blkid's lines, "TYPE=ext4". A partition table is something, too.
func parseFormat(text string) (string, error) {
	found := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		if !ok || strings.Contains(v, "=") {
			return "", fmt.Errorf("blkid returns invalid output: %s", text)
		}
		switch k {
		case "PTTYPE":
			if v != "" {
				return "unknown data, probably partitions", nil
			}
		case "TYPE":
			found = v
		}
	}
	return found, nil
}

func (s *Disks) makeFileSystem(ctx context.Context, device, fsType string) error {
	args := []string{device}
	switch fsType {
	case "ext3", "ext4":
		args = []string{"-F", "-m0", device}
	case "xfs":
		args = []string{"-f", device}
	}
	out, code, err := s.command(ctx, "mkfs."+fsType, args...)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("format of disk %q failed: type:(%q) errcode:(exit status %d) output:(%s)", device, fsType, code, out)
	}
	return nil
}

// Exit codes of fsck(8): bit 2 is errors that it left. Beyond are troubles of its own, which are no reason not to mount.
const errorsLeft = 4

// check mends what a crash left of a file system.
func (s *Disks) check(ctx context.Context, device string) error {
	out, code, err := s.command(ctx, "fsck", "-a", device)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case err != nil:
		s.Log.Warn("file system not checked", "device", device, "err", err)
	case code == errorsLeft:
		return fmt.Errorf("'fsck' found errors on device %s but could not correct them: %s", device, out)
	case code > 1:
		s.Log.Warn("file system not checked", "device", device, "err", ended("fsck", code, out))
	}
	return nil
}

// bind shows what is mounted at global to a pod.
func bind(global, path string, readOnly bool) error {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return err
	}
	if err := unix.Mount(global, path, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("bind %s to %s: %w", global, path, err), os.Remove(path))
	}
	if !readOnly {
		return nil
	}
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	if err == nil {
		keep := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
		err = unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|keep, "")
	}
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("bind %s to %s, to be read only: %w", global, path, err), unix.Unmount(path, 0), os.Remove(path))
}

// hide takes what was bound, or a link, from a pod.
func (s *Disks) hide(path string) error {
	if isMountPoint(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// unmountWithin is how long a disk may be busy that no pod has any more.
const unmountWithin = 10 * time.Second

// unmountDisk unmounts a disk, whole: it may be somebody else's at once. Another mount namespace may still have a copy of the mount, which
// keeps the kernel from writing everything, so that is said first.
func unmountDisk(dir string) error {
	if isMountPoint(dir) {
		if err := syncAt(dir); err != nil {
			return err
		}
	}
	var err error
	await(context.Background(), unmountWithin, func() bool {
		err = nil
		if isMountPoint(dir) {
			err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		}
		return !errors.Is(err, unix.EBUSY)
	})
	if err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} { // the interface's folder may hold others
		if err := os.Remove(d); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// syncAt writes all of a file system. A disk that is gone takes nothing any more: then what is lost is lost.
func syncAt(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil // it cannot be read: no reason to keep it mounted
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil && !errors.Is(err, unix.EIO) {
		return fmt.Errorf("write what is left at %s: %w", dir, err)
	}
	return nil
}

// isMountPoint asks statx, which knows bind mounts too.
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
