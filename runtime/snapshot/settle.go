package snapshot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// settle puts right what a layer could not know alone: a directory that it uses without naming it would hide mode and
// owner of the one below, and would hide a link below altogether; a hard link may lead to a file of a lower layer.
func (s *Store) settle(x *extractor, parent digest.Digest) error {
	defer x.dirs.forget()
	if len(x.links) == 0 && (parent == "" || len(x.implied) == 0) {
		return nil
	}
	below, err := s.openView(parent)
	if err != nil {
		return err
	}
	defer below.close()
	for i := 0; i < len(x.order); i++ { // it grows meanwhile
		dir := x.order[i]
		if _, still := x.implied[dir]; !still {
			continue
		}
		if err := x.inherit(below, dir); err != nil {
			return fmt.Errorf("directory %q of a lower layer: %w", dir, err)
		}
	}
	for _, l := range x.links {
		if err := x.copyUp(below, l); err != nil {
			return fmt.Errorf("unpack %q: hard link to %q: %w", l.path, l.target, err)
		}
	}
	return nil
}

// inherit gives an implied directory the attributes of the one below. Where there is a link below, what the layer put into
// the directory moves to where the link leads.
func (x *extractor) inherit(below *view, dir string) error {
	lower, st, err := below.lookup(dir)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return x.inheritDir(lower, dir, st)
	case unix.S_IFLNK:
		return x.moveBehindLink(below, dir)
	}
	return nil // a file below, a directory here: the layer's word counts
}

func (x *extractor) inheritDir(lower int, dir string, st *unix.Stat_t) error {
	to, err := x.dirs.open(dir)
	if err != nil {
		return explain(err)
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	from, err := openBeneath(lower, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if err := copyXattrs(from, to); err != nil {
		return err
	}
	return unix.UtimesNanoAt(to, ".", []unix.Timespec{st.Atim, st.Mtim}, 0)
}

// moveBehindLink serves layers made by hand: they bring lib/x, and below lib is a link to usr/lib.
func (x *extractor) moveBehindLink(below *view, dir string) error {
	target, err := below.resolve(dir)
	if err != nil {
		return err
	}
	from, err := x.dirs.open(dir)
	if err != nil {
		return explain(err)
	}
	names, err := readNames(from)
	if err != nil {
		return err
	}
	to, err := x.parent(target)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := unix.Renameat2(from, name, to, name, unix.RENAME_NOREPLACE); err != nil {
			return fmt.Errorf("move %q to %q: %w", name, target, err)
		}
	}
	for _, p := range x.order {
		if _, still := x.implied[p]; still && strings.HasPrefix(p, dir+"/") {
			delete(x.implied, p)
			x.imply(target + p[len(dir):])
		}
	}
	x.dirs.forget()
	up, base := split(dir)
	upfd, err := x.dirs.open(up)
	if err != nil {
		return err
	}
	return unix.Unlinkat(upfd, base, unix.AT_REMOVEDIR)
}

// copyUp makes the file of a hard link whose target is in a lower layer.
func (x *extractor) copyUp(below *view, l hardLink) error {
	dir, base := split(l.path)
	to, err := x.parent(dir)
	if err != nil {
		return err
	}
	// A later entry may have brought the target, or an earlier link to the same file.
	targetDir, targetBase := split(l.target)
	if from, err := x.dirs.open(targetDir); err == nil {
		if err := unix.Linkat(from, targetBase, to, base, 0); err != unix.ENOENT {
			return err
		}
	}
	lower, st, err := below.lookup(l.target)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("the target in a lower layer is not a regular file")
	}
	from, err := openBeneath(lower, l.target, unix.O_RDONLY)
	if err != nil {
		return explain(err)
	}
	src := os.NewFile(uintptr(from), l.target)
	defer src.Close()
	fd, err := unix.Openat(to, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	dst := os.NewFile(uintptr(fd), l.path)
	n, err := io.Copy(dst, src)
	x.bytes += n
	err = errors.Join(err, unix.Fchown(fd, int(st.Uid), int(st.Gid)), unix.Fchmod(fd, st.Mode&0o7777), copyXattrs(from, fd))
	err = errors.Join(err, dst.Close())
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(to, base, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

func copyXattrs(from, to int) error {
	buf := make([]byte, 64<<10)
	n, err := unix.Flistxattr(from, buf)
	if err == unix.ENOTSUP {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if !wantXattr(name) {
			continue
		}
		value := make([]byte, 64<<10)
		m, err := unix.Fgetxattr(from, name, value)
		if err == nil {
			err = unix.Fsetxattr(to, name, value[:m], 0)
		}
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return nil
}

// view is a stack of published layers, top-most first, looked at as overlayfs would.
type view struct{ fds []int }

func (s *Store) openView(chain digest.Digest) (*view, error) {
	v := new(view)
	if chain == "" {
		return v, nil
	}
	dirs, err := s.View(chain)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			v.close()
			return nil, err
		}
		v.fds = append(v.fds, fd)
	}
	return v, nil
}

func (v *view) close() {
	for _, fd := range v.fds {
		unix.Close(fd)
	}
}

// lookup finds the layer that shows a clean path, and the file's attributes; links are not followed. ENOENT when no layer
// has it or one hides it.
func (v *view) lookup(name string) (int, *unix.Stat_t, error) {
	for _, fd := range v.fds {
		st, hidden, err := lookIn(fd, name)
		if err != nil {
			return -1, nil, err
		}
		if st != nil {
			return fd, st, nil
		}
		if hidden {
			break
		}
	}
	return -1, nil, unix.ENOENT
}

// lookIn looks into one layer, and says whether that layer hides the path in those below.
func lookIn(root int, name string) (st *unix.Stat_t, hidden bool, err error) {
	if name == "" {
		var st unix.Stat_t
		err := unix.Fstat(root, &st)
		return &st, false, err
	}
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		var st unix.Stat_t
		fd, err := openBeneath(root, name[:i], unix.O_PATH|unix.O_NOFOLLOW)
		if err == unix.ENOENT {
			return nil, hidden, nil
		}
		if err != nil {
			return nil, true, nil // a link or a file on the way: not a path through directories
		}
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
		switch {
		case err != nil:
			return nil, false, err
		case isWhiteout(&st):
			return nil, true, nil
		case i == len(name):
			return &st, false, nil
		case !isDir(&st):
			return nil, true, nil
		}
		hidden = hidden || isOpaque(root, name[:i])
	}
	return nil, hidden, nil
}

func isOpaque(root int, name string) bool {
	fd, err := openBeneath(root, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var b [1]byte
	n, err := unix.Fgetxattr(fd, opaqueXattr, b[:])
	return err == nil && n == 1 && b[0] == 'y'
}

// resolve follows the links of a path within the stack and returns the clean path of a directory.
func (v *view) resolve(name string) (string, error) {
	rest, done := name, ""
	for links := 0; rest != ""; {
		first, tail, _ := strings.Cut(rest, "/")
		next := strings.TrimPrefix(path.Join("/", done, first), "/")
		lower, st, err := v.lookup(next)
		if err != nil {
			return "", fmt.Errorf("%q: %w", next, err)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			done, rest = next, tail
		case unix.S_IFLNK:
			if links++; links > 40 {
				return "", unix.ELOOP
			}
			buf := make([]byte, 4096)
			up, base := split(next)
			dir, err := openBeneath(lower, up, unix.O_RDONLY|unix.O_DIRECTORY)
			if err != nil {
				return "", err
			}
			n, err := unix.Readlinkat(dir, base, buf)
			unix.Close(dir)
			if err != nil {
				return "", err
			}
			target := string(buf[:n])
			if !strings.HasPrefix(target, "/") {
				target = path.Join("/", done, target)
			}
			done, rest = "", strings.TrimPrefix(path.Join("/", target, tail), "/")
		default:
			return "", fmt.Errorf("%q is not a directory", next)
		}
	}
	return done, nil
}
