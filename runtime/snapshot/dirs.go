package snapshot

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// dirCache holds the directories that were used last, open: entries come sorted by directory, so nearly all of them find
// theirs here. A descriptor is good until 15 others were opened, which no single entry does.
type dirCache struct {
	root  int
	slots [16]openDir
	clock uint64
}

type openDir struct {
	path string // "" for a free slot
	fd   int
	used uint64
}

// open returns an existing directory of the layer. The descriptor stays the cache's.
func (c *dirCache) open(path string) (int, error) {
	if path == "" {
		return c.root, nil
	}
	c.clock++
	oldest := &c.slots[0]
	for i := range c.slots {
		slot := &c.slots[i]
		if slot.path == path {
			slot.used = c.clock
			return slot.fd, nil
		}
		if slot.used < oldest.used {
			oldest = slot
		}
	}
	fd, err := openBeneath(c.root, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	if oldest.path != "" {
		unix.Close(oldest.fd)
	}
	*oldest = openDir{path, fd, c.clock}
	return fd, nil
}

// forget closes everything, before something that may be a directory is removed: links may give a directory several
// names. Descriptors that open returned before are no longer valid.
func (c *dirCache) forget() {
	for i := range c.slots {
		if c.slots[i].path != "" {
			unix.Close(c.slots[i].fd)
			c.slots[i] = openDir{}
		}
	}
}

// parent opens the directory that an entry goes into, and makes it where the layer did not name it.
func (x *extractor) parent(path string) (int, error) {
	fd, err := x.dirs.open(path)
	if err != unix.ENOENT && err != unix.ENOTDIR {
		return fd, explainDir(path, err)
	}
	dir, base := split(path)
	up, err := x.parent(dir)
	if err != nil {
		return -1, err
	}
	switch err := unix.Mkdirat(up, base, 0o755); err {
	case nil:
		x.imply(path)
	case unix.EEXIST:
		st, err := lstatAt(up, base)
		if err != nil {
			return -1, explainDir(path, err)
		}
		if !isWhiteout(&st) {
			return -1, fmt.Errorf("%q is not a directory, or a link to none", path)
		}
		if err := x.opaqueDir(up, base); err != nil {
			return -1, explainDir(path, err)
		}
		x.imply(path)
	default:
		return -1, explainDir(path, err)
	}
	fd, err = x.dirs.open(path)
	return fd, explainDir(path, err)
}

func explainDir(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("directory %q: %w", path, explain(err))
}

func (x *extractor) imply(path string) {
	x.implied[path] = struct{}{}
	x.order = append(x.order, path)
}

// opaqueDir puts a directory where the layer removed something before: it must hide what is below.
func (x *extractor) opaqueDir(dirfd int, base string) error {
	if err := unix.Unlinkat(dirfd, base, 0); err != nil {
		return err
	}
	if err := unix.Mkdirat(dirfd, base, 0o755); err != nil {
		return err
	}
	return markOpaque(dirfd, base)
}

func markOpaque(dirfd int, base string) error {
	fd, err := unix.Openat(dirfd, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0), unix.Close(fd))
}

func (x *extractor) rootEntry(hdr *tar.Header) error {
	delete(x.implied, "")
	x.times = append(x.times, dirTime{"", hdr.ModTime})
	return x.attributes(x.root, hdr)
}

// directory makes a directory or, where the layer has it already, gives it the attributes of the later entry.
func (x *extractor) directory(e entry) error {
	switch err := unix.Mkdirat(e.dirfd, e.base, 0o755); err {
	case nil:
	case unix.EEXIST:
		st, err := lstatAt(e.dirfd, e.base)
		if err != nil {
			return err
		}
		if isWhiteout(&st) {
			err = x.opaqueDir(e.dirfd, e.base)
		} else if !isDir(&st) {
			err = errors.Join(unix.Unlinkat(e.dirfd, e.base, 0), unix.Mkdirat(e.dirfd, e.base, 0o755))
		}
		if err != nil {
			return err
		}
		if !isDir(&st) {
			x.dirs.forget() // it may have been a link, open under this very name
		}
	default:
		return err
	}
	delete(x.implied, e.path)
	fd, err := x.dirs.open(e.path)
	if err != nil {
		return explain(err)
	}
	x.times = append(x.times, dirTime{e.path, e.hdr.ModTime})
	return x.attributes(fd, e.hdr)
}

// whiteout hides a file of a lower layer: overlayfs' mark is a character device 0:0, or an attribute for a directory whose
// whole contents are hidden. What this same layer brings under that name stays.
func (x *extractor) whiteout(dirfd int, name string) error {
	if name == opaqueMark {
		return unix.Fsetxattr(dirfd, opaqueXattr, []byte("y"), 0)
	}
	if strings.HasPrefix(name, aufsPrefix) {
		return nil
	}
	base := strings.TrimPrefix(name, whiteoutPrefix)
	if base == "" || base == "." || base == ".." {
		return errors.New("whiteout of nothing")
	}
	err := unix.Mknodat(dirfd, base, unix.S_IFCHR, 0)
	if err != unix.EEXIST {
		return err
	}
	st, err := lstatAt(dirfd, base)
	if err != nil || !isDir(&st) {
		return err
	}
	return markOpaque(dirfd, base)
}
