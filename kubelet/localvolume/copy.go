package localvolume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// copyTree copies what is in a directory into another, empty one: data (as shared blocks where the file system can), holes, links, owners,
// modes, times and extended attributes. Sockets stay behind. The source may be in use by a pod that means no good: every step goes from an
// open directory to a name in it, and follows no link.
func copyTree(ctx context.Context, from, to string) error {
	src, err := openDir(unix.AT_FDCWD, from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := openDir(unix.AT_FDCWD, to)
	if err != nil {
		return err
	}
	defer dst.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &st); err != nil {
		return err
	}
	c := &copier{ctx: ctx, root: dst, device: st.Dev, links: map[uint64]string{}}
	if err := c.dir(src, dst, ""); err != nil {
		return err
	}
	if err := attributesOf(src, dst, &st); err != nil {
		return err
	}
	return unix.Syncfs(int(dst.Fd()))
}

// copier is one copyTree.
type copier struct {
	ctx    context.Context
	root   *os.File          // of the copy
	device uint64            // of the source: what is mounted in it is not in it
	links  map[uint64]string // inodes of the source with several names: the first one, below root
}

func openDir(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// dir copies the entries of one directory; at is its path below the root.
func (c *copier) dir(src, dst *os.File, at string) error {
	for {
		names, err := src.Readdirnames(256)
		for _, name := range names {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			if err := c.entry(src, dst, name, path.Join(at, name)); err != nil && !errors.Is(err, unix.ENOENT) { // it is in use: what has gone has gone
				return fmt.Errorf("copy %s: %w", path.Join(at, name), err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *copier) entry(src, dst *os.File, name, at string) error {
	var st unix.Stat_t
	from, to := int(src.Fd()), int(dst.Fd())
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		if first, ok := c.links[st.Ino]; ok {
			return unix.Linkat(int(c.root.Fd()), first, to, name, 0)
		}
	}
	var err error
	switch kind {
	case unix.S_IFDIR:
		err = c.subdir(src, dst, name, at, &st)
	case unix.S_IFREG:
		err = c.file(src, dst, name)
	case unix.S_IFLNK:
		var target string
		if target, err = readlink(from, name, st.Size); err == nil {
			err = unix.Symlinkat(target, to, name)
		}
		if err == nil {
			err = unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
		}
	case unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK:
		if err = unix.Mknodat(to, name, st.Mode, int(st.Rdev)); err == nil {
			err = unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
		}
		if err == nil {
			err = unix.Fchmodat(to, name, st.Mode&0o7777, 0)
		}
	default:
		return nil
	}
	if err != nil {
		return err
	}
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		c.links[st.Ino] = at
	}
	return unix.UtimesNanoAt(to, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

func readlink(at int, name string, size int64) (string, error) {
	buf := make([]byte, max(size, 255)+1)
	n, err := unix.Readlinkat(at, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func (c *copier) subdir(src, dst *os.File, name, at string, st *unix.Stat_t) error {
	if err := unix.Mkdirat(int(dst.Fd()), name, 0o700); err != nil {
		return err
	}
	in, err := openDir(int(src.Fd()), name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := openDir(int(dst.Fd()), name)
	if err != nil {
		return err
	}
	defer out.Close()
	if st.Dev == c.device {
		if err := c.dir(in, out, at); err != nil {
			return err
		}
	}
	return attributesOf(in, out, st)
}

func (c *copier) file(src, dst *os.File, name string) error {
	fd, err := unix.Openat(int(src.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(fd), name)
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG { // it has become something else meanwhile
		return unix.ENOENT
	}
	fd, err = unix.Openat(int(dst.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	err = c.data(in, out, st.Size)
	if err == nil {
		err = attributesOf(in, out, &st)
	}
	return errors.Join(err, out.Close())
}

// data copies a file's content, and leaves holes where there are holes.
func (c *copier) data(in, out *os.File, size int64) error {
	from, to := int(in.Fd()), int(out.Fd())
	if unix.IoctlFileClone(to, from) == nil {
		return nil
	}
	for off := int64(0); off < size; {
		begin, err := unix.Seek(from, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return err
		}
		end, err := unix.Seek(from, begin, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := c.stretch(in, out, begin, min(end, size)); err != nil {
			return err
		}
		off = end
	}
	return unix.Ftruncate(to, size)
}

// atOnce is how much is copied between two looks at whether to go on.
const atOnce = 64 << 20

func (c *copier) stretch(in, out *os.File, off, end int64) error {
	for off < end {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		r, w := off, off
		n, err := unix.CopyFileRange(int(in.Fd()), &r, int(out.Fd()), &w, int(min(end-off, atOnce)), 0)
		if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
			var m int64
			m, err = io.Copy(io.NewOffsetWriter(out, off), io.NewSectionReader(in, off, min(end-off, atOnce)))
			n = int(m)
		}
		if err != nil {
			return err
		}
		if n == 0 { // it has become shorter
			return nil
		}
		off += int64(n)
	}
	return nil
}

// attributesOf gives out what in has, but its times.
func attributesOf(in, out *os.File, st *unix.Stat_t) error {
	from, to := int(in.Fd()), int(out.Fd())
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	list := make([]byte, 64<<10)
	n, err := unix.Flistxattr(from, list)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return err
	}
	value := make([]byte, 64<<10)
	for _, name := range strings.Split(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if name == "" || name == "security.selinux" { // the kernel gives a label by the place
			continue
		}
		n, err := unix.Fgetxattr(from, name, value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err == nil {
			err = unix.Fsetxattr(to, name, value[:n], 0)
		}
		if err != nil {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	return nil
}
