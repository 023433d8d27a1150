package snapshot

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// openBeneath opens a clean relative path under the directory dirfd. The kernel resolves it: a link inside is followed as
// long as it stays inside, one that leaves is EXDEV.
func openBeneath(dirfd int, path string, flags uint64) (int, error) {
	if path == "" {
		path = "."
	}
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(dirfd, path, &how)
		// EAGAIN: something else in the system renamed a file meanwhile, and the kernel could not be sure.
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// cleanName turns the name of a tar entry into a path relative to the layer: "" for the layer's root. A name with a ".."
// or without any sense is an error.
func cleanName(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("name %q holds a NUL byte", name)
	}
	// Most names are clean already, but for a trailing slash.
	name = strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if !strings.Contains(name, "//") && !strings.Contains(name, "./") && !strings.HasPrefix(name, "/") &&
		!strings.HasSuffix(name, ".") {
		return name, nil
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			return "", errors.New(`name holds "..", which may lead out of the layer`)
		default:
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "/"), nil
}

// split cuts a clean path into directory and last element.
func split(path string) (dir, base string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// removeAt removes a file or a whole directory tree under dirfd, never through a link.
func removeAt(dirfd int, base string) error {
	err := unix.Unlinkat(dirfd, base, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM {
		return err
	}
	fd, err := unix.Openat(dirfd, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	names, err := readNames(fd)
	for _, name := range names {
		err = errors.Join(err, removeAt(fd, name))
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return err
	}
	return unix.Unlinkat(dirfd, base, unix.AT_REMOVEDIR)
}

// readNames lists a directory by its descriptor.
func readNames(fd int) ([]string, error) {
	var names []string
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return names, err
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// isWhiteout says whether a file is overlayfs' mark for "removed here".
func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func isDir(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFDIR }

func lstatAt(dirfd int, base string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(dirfd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}
