package stage

import (
	"golang.org/x/sys/unix"
)

// openIn opens path as seen by a process whose root directory is root: links, also absolute ones and those with "..",
// stay inside. Links of procfs to descriptors are never followed.
func openIn(root int, path string, flags, resolve uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | resolve,
	}
	for {
		fd, err := unix.Openat2(root, path, &how)
		// EAGAIN: a rename raced with "..", which the kernel wants to be tried again.
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil {
			return -1, err
		}
		return fd, nil
	}
}

// makeIn creates path beneath root, with the directories above it: a directory, or an empty file.
func makeIn(root int, path string, file bool) error {
	path = clean(path)
	for end := 1; end <= len(path); end++ {
		if end < len(path) && path[end] != '/' {
			continue
		}
		part := path[:end]
		fd, err := openIn(root, part, unix.O_PATH, 0)
		if err == nil {
			unix.Close(fd)
			continue
		}
		if err != unix.ENOENT {
			return wrap("look up "+part, err)
		}
		if err := makeOne(root, part, file && end == len(path)); err != nil {
			return wrap("create "+part, err)
		}
	}
	return nil
}

func makeOne(root int, path string, file bool) error {
	dir, name := split(path)
	parent, err := openIn(root, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	if file {
		fd, err := unix.Openat(parent, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
	return unix.Mkdirat(parent, name, 0o755)
}

// split returns the directory and the last element of a clean absolute path other than "/".
func split(path string) (dir, name string) {
	i := len(path) - 1
	for path[i] != '/' {
		i--
	}
	if i == 0 {
		return "/", path[1:]
	}
	return path[:i], path[i+1:]
}

// clean makes path absolute and resolves "." and ".." by words; the kernel resolves what is left.
func clean(path string) string {
	var parts []string
	for len(path) > 0 {
		var p string
		if i := indexByte(path, '/'); i >= 0 {
			p, path = path[:i], path[i+1:]
		} else {
			p, path = path, ""
		}
		switch p {
		case "", ".":
		case "..":
			if len(parts) > 0 {
				parts = parts[:len(parts)-1]
			}
		default:
			parts = append(parts, p)
		}
	}
	out := ""
	for _, p := range parts {
		out += "/" + p
	}
	if out == "" {
		return "/"
	}
	return out
}

// within reports whether path is dir or below it, by words.
func within(path, dir string) bool {
	path = clean(path)
	return path == dir || len(path) > len(dir) && path[:len(dir)] == dir && path[len(dir)] == '/'
}
