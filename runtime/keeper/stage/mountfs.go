package stage

import (
	"strconv"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// overlay mounts layers as a detached overlay. Layers are given one by one where the kernel can (6.5 and newer: no limit on
// the length of all paths together). An older one says so only in the end; then they are given as one option.
func overlay(r *wire.Root) (int, error) {
	fd, err := overlayWith(r, addLayers)
	if is(err, unix.EINVAL) {
		var again error
		if fd, again = overlayWith(r, addLayersAtOnce); again == nil {
			return fd, nil
		}
	}
	return fd, err
}

func overlayWith(r *wire.Root, layers func(fs int, lower []string) error) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, wrap("overlay", err)
	}
	defer unix.Close(fs)
	if err := layers(fs, r.Lower); err != nil {
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

// addLayersAtOnce uses the single option of older kernels, which has a page for all options together. Each layer is named
// by a descriptor: that is short, some 200 fit, and has no colon, which separates layers.
func addLayersAtOnce(fs int, lower []string) error {
	joined := ""
	for i, dir := range lower {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // closed when the program is executed
		if err != nil {
			return wrap("layer "+dir, err)
		}
		if i > 0 {
			joined += ":"
		}
		joined += "/proc/self/fd/" + strconv.Itoa(fd)
	}
	return unix.FsconfigSetString(fs, "lowerdir", joined)
}

// mountFS makes a detached mount of a file system type. Bits of Attr above the kernel's mount attributes are not used.
func mountFS(m *wire.Mount) (int, error) {
	if m.FSType == "overlay" {
		fd, err := imageMount(m)
		return fd, err
	}
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
// image of one layer is bound.
func imageMount(m *wire.Mount) (int, error) {
	var (
		fd  int
		err error
	)
	if len(m.Lower) == 1 {
		fd, err = cloneTree(unix.AT_FDCWD, m.Lower[0], false)
	} else {
		fd, err = overlay(&wire.Root{Lower: m.Lower})
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
