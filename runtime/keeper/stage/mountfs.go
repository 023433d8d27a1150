package stage

import (
	"strconv"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// overlay mounts layers as a detached overlay. Layers are given one by one where the kernel can (6.5 and newer: no limit on
// the length of all paths together). An older one refuses that, perhaps only in the end.
func overlay(r *wire.Root) (int, error) {
	fd, err := overlayByOne(r)
	if is(err, unix.EINVAL) {
		var again error
		if fd, again = overlayAtOnce(r); again == nil {
			return fd, nil
		}
		err = wrap(err.Error()+"; and with mount(2)", again)
	}
	return fd, err
}

func overlayByOne(r *wire.Root) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, wrap("overlay", err)
	}
	defer unix.Close(fs)
	if err := addLayers(fs, r.Lower); err != nil {
		return -1, explain(fs, wrap("layers", err))
	}
	if r.Upper != "" {
		if err := unix.FsconfigSetString(fs, "upperdir", r.Upper); err != nil {
			return -1, explain(fs, wrap("upperdir "+r.Upper, err))
		}
		if err := unix.FsconfigSetString(fs, "workdir", r.Work); err != nil {
			return -1, explain(fs, wrap("workdir "+r.Work, err))
		}
	}
	if err := setOptions(fs, r.Data); err != nil {
		return -1, explain(fs, err)
	}
	return makeMount(fs, 0)
}

func addLayers(fs int, lower []string) error {
	for _, dir := range lower {
		if err := unix.FsconfigSetString(fs, "lowerdir+", dir); err != nil {
			return wrap(dir, err)
		}
	}
	return nil
}

// overlayAtOnce uses mount(2), which has a page for all options together. Each layer is named by a descriptor: that is short,
// some 200 fit, and has no colon, which separates layers. The mount is made over r.At and taken off again.
func overlayAtOnce(r *wire.Root) (int, error) {
	data := "lowerdir="
	for i, dir := range r.Lower {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, wrap("layer "+dir, err)
		}
		defer unix.Close(fd)
		if i > 0 {
			data += ":"
		}
		data += "/proc/self/fd/" + strconv.Itoa(fd)
	}
	if r.Upper != "" {
		data += ",upperdir=" + r.Upper + ",workdir=" + r.Work
	}
	if r.Data != "" {
		data += "," + r.Data
	}
	if err := unix.Mount("overlay", r.At, "overlay", 0, data); err != nil {
		return -1, wrap("overlay of "+strconv.Itoa(len(r.Lower))+" layers", err)
	}
	fd, err := cloneTree(unix.AT_FDCWD, r.At, false)
	if uerr := unix.Unmount(r.At, unix.MNT_DETACH); err == nil {
		err = uerr
	}
	return fd, err
}

// mountFS makes a detached mount of a file system type.
func mountFS(m *wire.Mount) (int, error) {
	fs, err := unix.Fsopen(m.FSType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if m.Source != "" {
		if err := unix.FsconfigSetString(fs, "source", m.Source); err != nil {
			return -1, explain(fs, wrap("source "+m.Source, err))
		}
	}
	if err := setOptions(fs, m.Data); err != nil {
		return -1, explain(fs, err)
	}
	return makeMount(fs, m.Attr)
}

// imageMount mounts the layers of an image volume, read-only. One layer alone is not an overlay for the kernel, so an
// image of one layer is bound. at is a directory to mount over in passing.
func imageMount(m *wire.Mount, at string) (int, error) {
	var (
		fd  int
		err error
	)
	if len(m.Lower) == 1 {
		fd, err = cloneTree(unix.AT_FDCWD, m.Lower[0], false)
	} else {
		fd, err = overlay(&wire.Root{Lower: m.Lower, At: at})
	}
	if err != nil {
		return -1, err
	}
	return fd, unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: m.Attr | unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE})
}

func makeMount(fs int, attr uint64) (int, error) {
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, explain(fs, err)
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(attr))
}

// setOptions gives comma-separated options to a file system being configured.
func setOptions(fs int, data string) error {
	for len(data) > 0 {
		opt := data
		if i := indexByte(data, ','); i >= 0 {
			opt, data = data[:i], data[i+1:]
		} else {
			data = ""
		}
		if opt == "" {
			continue
		}
		var err error
		if i := indexByte(opt, '='); i >= 0 {
			err = unix.FsconfigSetString(fs, opt[:i], opt[i+1:])
		} else {
			err = unix.FsconfigSetFlag(fs, opt)
		}
		if err != nil {
			return wrap("option "+opt, err)
		}
	}
	return nil
}

// explain adds what the kernel has to say about a file system that it refused, which it keeps in the descriptor.
func explain(fs int, err error) error {
	buf := make([]byte, 512)
	n, rerr := unix.Read(fs, buf)
	if rerr != nil || n <= 2 {
		return err
	}
	msg := buf[2:n] // "e " and the message
	if msg[len(msg)-1] == '\n' {
		msg = msg[:len(msg)-1]
	}
	return &failure{string(msg), err}
}

func indexByte(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return -1
}
