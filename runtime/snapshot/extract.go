package snapshot

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."         // OCI image-spec, layer.md, "Whiteouts"
	opaqueMark     = ".wh..wh..opq" // the directory hides what is below it
	aufsPrefix     = ".wh..wh."     // bookkeeping of a file system of the past, never part of an image
	opaqueXattr    = "trusted.overlay.opaque"
	xattrRecord    = "SCHILY.xattr." // PAX record of an extended attribute
)

// Limits bound what one layer may bring. The zero value of a field is its default.
type Limits struct {
	Entries int64 // files, directories, links; default 1 million
	Bytes   int64 // length of the uncompressed layer, and of its largest file; default 1 TiB
}

func (l Limits) withDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = 1 << 20
	}
	if l.Bytes == 0 {
		l.Bytes = 1 << 40
	}
	return l
}

// extractor unpacks one layer into the directory root. It belongs to one goroutine.
type extractor struct {
	root   int
	limits Limits
	buf    []byte
	dirs   dirCache

	times   []dirTime           // directories get their times last: filling one changes them
	implied map[string]struct{} // directories that the layer uses without naming them
	order   []string            // implied, in order of creation: parents first
	links   []hardLink          // hard links to files that are not in this layer
	stale   bool                // something was removed: the open directories may be gone
	entries int64
	bytes   int64
}

type dirTime struct {
	path string
	mod  time.Time
}

type hardLink struct{ path, target string }

func newExtractor(root int, limits Limits) *extractor {
	return &extractor{
		root:    root,
		limits:  limits.withDefaults(),
		buf:     make([]byte, 256<<10),
		dirs:    dirCache{root: root},
		implied: map[string]struct{}{"": {}},
		order:   []string{""},
	}
}

// run reads the whole uncompressed tar. Whatever it returns, the caller owns the directory and removes it on error.
func (x *extractor) run(ctx context.Context, r io.Reader) error {
	defer x.dirs.forget()
	tr := tar.NewReader(r)
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read layer after %d entries: %w", x.entries, err)
		}
		if x.entries++; x.entries > x.limits.Entries {
			return fmt.Errorf("layer has more than %d entries", x.limits.Entries)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := x.entry(ctx, hdr, tr); err != nil {
			return fmt.Errorf("unpack %q: %w", hdr.Name, err)
		}
	}
	return x.setTimes()
}

func (x *extractor) entry(ctx context.Context, hdr *tar.Header, r io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	path, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	if path == "" {
		if hdr.Typeflag != tar.TypeDir {
			return errors.New("the root of a layer must be a directory")
		}
		return x.rootEntry(hdr)
	}
	if x.stale {
		x.dirs.forget()
		x.stale = false
	}
	dir, base := split(path)
	fd, err := x.parent(dir)
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return x.whiteout(fd, base)
	}
	e := entry{hdr: hdr, dirfd: fd, path: path, base: base}
	switch hdr.Typeflag {
	case tar.TypeDir:
		return x.directory(e)
	case tar.TypeReg, tar.TypeCont:
		return x.regular(ctx, e, r)
	case tar.TypeSymlink:
		return x.symlink(e)
	case tar.TypeLink:
		return x.link(e)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return x.node(e)
	default:
		return fmt.Errorf("unknown type %q", hdr.Typeflag)
	}
}

// entry is a tar entry and where it belongs: base in the open directory dirfd.
type entry struct {
	hdr   *tar.Header
	dirfd int
	path  string
	base  string
}

// replace runs make, and once more after removing what is in its way: the last entry of a name counts.
func (x *extractor) replace(e entry, make func() error) error {
	err := make()
	if err != unix.EEXIST {
		return err
	}
	if err := removeAt(e.dirfd, e.base); err != nil {
		return err
	}
	// Open descriptors of what is gone would take new files out of the tree, unseen.
	x.stale = true
	return make()
}

func (x *extractor) regular(ctx context.Context, e entry, r io.Reader) error {
	if e.hdr.Size > x.limits.Bytes {
		return fmt.Errorf("file has %d bytes, more than %d", e.hdr.Size, x.limits.Bytes)
	}
	fd := -1
	err := x.replace(e, func() (err error) {
		const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
		fd, err = unix.Openat(e.dirfd, e.base, flags, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	err = x.body(ctx, fd, r, e.hdr.Size)
	if err == nil {
		err = x.attributes(fd, e.hdr)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return err
	}
	return setTime(e.dirfd, e.base, e.hdr)
}

// zeros is what a hole reads as.
var zeros [256 << 10]byte

// body copies the contents. Long runs of zeros become holes, so that a sparse file takes no more than it has.
func (x *extractor) body(ctx context.Context, fd int, r io.Reader, size int64) error {
	var off int64
	hole := false
	for off < size {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := io.ReadFull(r, x.buf[:min(int64(len(x.buf)), size-off)])
		if err != nil {
			return fmt.Errorf("read contents at %d of %d bytes: %w", off, size, err)
		}
		hole = n >= 4096 && bytes.Equal(x.buf[:n], zeros[:n])
		if !hole {
			if err := writeAt(fd, x.buf[:n], off); err != nil {
				return err
			}
			x.bytes += int64(n)
		}
		off += int64(n)
	}
	if hole {
		return unix.Ftruncate(fd, size)
	}
	return nil
}

func writeAt(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func (x *extractor) symlink(e entry) error {
	if e.hdr.Linkname == "" {
		return errors.New("symbolic link to nothing")
	}
	err := x.replace(e, func() error { return unix.Symlinkat(e.hdr.Linkname, e.dirfd, e.base) })
	if err != nil {
		return err
	}
	return x.owner(e, nil)
}

// node makes a device or a named pipe.
func (x *extractor) node(e entry) error {
	mode := uint32(e.hdr.Mode & 0o7777)
	switch e.hdr.Typeflag {
	case tar.TypeChar:
		mode |= unix.S_IFCHR
	case tar.TypeBlock:
		mode |= unix.S_IFBLK
	default:
		mode |= unix.S_IFIFO
	}
	dev := unix.Mkdev(uint32(e.hdr.Devmajor), uint32(e.hdr.Devminor))
	if err := x.replace(e, func() error { return unix.Mknodat(e.dirfd, e.base, mode, int(dev)) }); err != nil {
		return err
	}
	return x.owner(e, func() error { return unix.Fchmodat(e.dirfd, e.base, mode&0o7777, 0) })
}

// owner sets what a file that can not be opened has: owner, then mode if it has one, then time.
func (x *extractor) owner(e entry, chmod func() error) error {
	if err := unix.Fchownat(e.dirfd, e.base, e.hdr.Uid, e.hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if chmod != nil {
		if err := chmod(); err != nil {
			return err
		}
	}
	return setTime(e.dirfd, e.base, e.hdr)
}

// link makes a hard link. Its target is a path from the layer's root and may not be reached through a link.
func (x *extractor) link(e entry) error {
	target, err := cleanName(e.hdr.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", e.hdr.Linkname, err)
	}
	if target == "" || target == e.path {
		return fmt.Errorf("hard link to %q", e.hdr.Linkname)
	}
	dir, base := split(target)
	from, err := x.dirs.open(dir)
	if err == nil {
		err = x.replace(e, func() error { return unix.Linkat(from, base, e.dirfd, e.base, 0) })
	}
	if err == unix.ENOENT {
		x.links = append(x.links, hardLink{path: e.path, target: target})
		return nil
	}
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", e.hdr.Linkname, explain(err))
	}
	return nil
}

func (x *extractor) setTimes() error {
	for i := len(x.times) - 1; i >= 0; i-- {
		t := x.times[i]
		fd, err := x.dirs.open(t.path)
		if err == unix.ENOENT || err == unix.ENOTDIR {
			continue // replaced by a later entry
		}
		if err != nil {
			return fmt.Errorf("set time of %q: %w", t.path, err)
		}
		if err := setTime(fd, ".", &tar.Header{ModTime: t.mod}); err != nil {
			return fmt.Errorf("set time of %q: %w", t.path, err)
		}
	}
	return nil
}

// attributes sets owner, mode and extended attributes of an open file or directory, in the order in which none undoes
// another: a change of owner clears set-user-ID and capabilities.
func (x *extractor) attributes(fd int, hdr *tar.Header) error {
	if err := unix.Fchown(fd, hdr.Uid, hdr.Gid); err != nil {
		return fmt.Errorf("owner %d:%d: %w", hdr.Uid, hdr.Gid, err)
	}
	if err := unix.Fchmod(fd, uint32(hdr.Mode&0o7777)); err != nil {
		return fmt.Errorf("mode %o: %w", hdr.Mode&0o7777, err)
	}
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok || !wantXattr(name) {
			continue
		}
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		if err != nil && err != unix.ENOTSUP {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return nil
}

// wantXattr lets pass what an image may decide. Labels of security modules belong to the host, and trusted.overlay.* would
// let a layer speak to overlayfs itself.
func wantXattr(name string) bool {
	return name == "security.capability" || strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "system.posix_acl_")
}

func setTime(dirfd int, base string, hdr *tar.Header) error {
	mod := hdr.ModTime
	if mod.Before(time.Unix(0, 0)) {
		mod = time.Unix(0, 0)
	}
	ts, err := unix.TimeToTimespec(mod)
	if err != nil {
		return fmt.Errorf("time %s: %w", mod, err)
	}
	return unix.UtimesNanoAt(dirfd, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// explain gives the kernel's refusals their meaning here.
func explain(err error) error {
	switch err {
	case unix.EXDEV:
		return errors.New("a link in its path leads out of the layer")
	case unix.ELOOP:
		return errors.New("links in its path go round in circles")
	case unix.ENOTDIR:
		return errors.New("a part of its path is not a directory")
	}
	return err
}
