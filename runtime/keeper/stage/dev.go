package stage

import (
	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// bindsDev reports whether a volume takes the place of /dev: then it is left as it is, because it may be the host's.
func bindsDev(mounts []wire.Mount) bool {
	for i := range mounts {
		if m := &mounts[i]; m.FSType == "" && clean(m.Target) == "/dev" {
			return true
		}
	}
	return false
}

// fillDev makes the device nodes and the usual links in a fresh tmpfs, which nobody else can reach yet.
func fillDev(dev int, devices []wire.Device) error {
	for i := range devices {
		d := devices[i]
		if !within(d.Path, "/dev") {
			continue
		}
		d.Path = clean(d.Path)[len("/dev"):]
		if err := makeDevice(dev, &d); err != nil {
			return err
		}
	}
	for _, link := range [...][2]string{
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
		{"/proc/kcore", "core"}, {"pts/ptmx", "ptmx"},
	} {
		if err := unix.Symlinkat(link[0], dev, link[1]); err != nil && err != unix.EEXIST {
			return wrap("link /dev/"+link[1], err)
		}
	}
	return nil
}

// makeDevice makes one node beneath dir. A node that is there already is left alone.
func makeDevice(dir int, d *wire.Device) error {
	parent, name := split(clean(d.Path))
	if err := makeIn(dir, parent, false); err != nil {
		return wrap("device "+d.Path, err)
	}
	at, err := openIn(dir, parent, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return wrap("device "+d.Path, err)
	}
	defer unix.Close(at)
	err = unix.Mknodat(at, name, uint32(d.Mode), int(unix.Mkdev(uint32(d.Major), uint32(d.Minor))))
	if err == unix.EEXIST {
		return nil
	}
	if err != nil {
		return wrap("device "+d.Path, err)
	}
	// The process's umask took bits away; owner and mode are those of the request.
	if err := unix.Fchmodat(at, name, uint32(d.Mode)&0o7777, 0); err != nil {
		return wrap("mode of "+d.Path, err)
	}
	return wrap("owner of "+d.Path, unix.Fchownat(at, name, int(d.UID), int(d.GID), unix.AT_SYMLINK_NOFOLLOW))
}

// hider puts masks over paths. The first mask of a kind is mounted from a detached mount; those after it are cloned from
// where it then is, because kernels before 6.15 clone attached mounts only.
type hider struct {
	root  int // descriptor of /
	null  int // mount of the host's null device
	empty int // mount of an empty directory, -1 until one is needed
	used  [2]bool
}

// hidePaths masks paths and makes others read-only, then the root itself if asked. It runs inside the new root; null is
// the detached mount of the host's null device, which it closes.
func hidePaths(l *wire.Launch, null int) error {
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrap("open /", err)
	}
	defer unix.Close(root)
	h := &hider{root: root, null: null, empty: -1}
	for _, path := range l.ReadOnly {
		if err := h.readOnly(path); err != nil {
			return wrap("make "+path+" read-only", err)
		}
	}
	for _, path := range l.Masked {
		if err := h.mask(path); err != nil {
			return wrap("mask "+path, err)
		}
	}
	unix.Close(null)
	if h.empty >= 0 {
		unix.Close(h.empty)
	}
	if l.Root.ReadOnly {
		err := unix.MountSetattr(root, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		if err != nil {
			return wrap("make the root read-only", err)
		}
	}
	return nil
}

// find opens a path that shall be hidden. What does not exist, or is a link, needs no hiding.
func find(root int, path string) (int, error) {
	fd, err := openIn(root, path, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS)
	if is(err, unix.ENOENT, unix.ELOOP, unix.ENOTDIR) {
		return -1, nil
	}
	return fd, err
}

func (h *hider) readOnly(path string) error {
	at, err := find(h.root, path)
	if at < 0 {
		return err
	}
	defer unix.Close(at)
	tree, err := cloneTree(at, "", true)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil {
		return err
	}
	return moveOnto(tree, at)
}

// mask covers a directory with an empty read-only tmpfs and anything else with the null device.
func (h *hider) mask(path string) error {
	at, err := find(h.root, path)
	if at < 0 {
		return err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return err
	}
	source, kind := h.null, 0
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if h.empty < 0 {
			h.empty, err = mountFS(&wire.Mount{FSType: "tmpfs", Source: "tmpfs", Data: "nr_blocks=1,nr_inodes=1",
				Attr: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC})
			if err != nil {
				return err
			}
		}
		source, kind = h.empty, 1
	}
	if !h.used[kind] {
		h.used[kind] = true
		return moveOnto(source, at)
	}
	tree, err := cloneTree(source, "", false)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return moveOnto(tree, at)
}

func moveOnto(tree, at int) error {
	return unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// WriteSysctls sets kernel settings of the current namespaces. Where those belong to a user namespace, some settings obey the host's root
// and some the namespace's. It is for a thread of its own.
func WriteSysctls(list []wire.KeyValue, ids wire.IDMap) error {
	for _, kv := range list {
		err := writeSysctl(kv.Key, kv.Value)
		if ids.Size > 0 && is(err, unix.EACCES, unix.EPERM) {
			if err = effective(ids.UID, ids.GID); err == nil {
				err = writeSysctl(kv.Key, kv.Value)
			}
			if back := effective(0, 0); err == nil {
				err = back
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// effective sets the effective user and group of this thread alone. Back at root, its capabilities are back, too.
func effective(uid, gid uint64) error {
	const same = ^uintptr(0)
	// The group first on the way down, and last on the way back it is allowed as well: the user is root again by then.
	order := [...][2]uintptr{{unix.SYS_SETRESGID, uintptr(gid)}, {unix.SYS_SETRESUID, uintptr(uid)}}
	if uid == 0 {
		order[0], order[1] = order[1], order[0]
	}
	for _, c := range order {
		if _, _, e := unix.RawSyscall(c[0], same, c[1], same); e != 0 {
			return wrap("effective user", e)
		}
	}
	return nil
}

// writeSysctl takes a name with dots, or slashes when a part has a dot.
func writeSysctl(name, value string) error {
	path := []byte("/proc/sys/" + name)
	if indexByte(name, '/') < 0 {
		for i := range path {
			if path[i] == '.' {
				path[i] = '/'
			}
		}
	}
	return wrap("sysctl "+name, writeProc(string(path), value))
}

// writeProc writes to a file that has to be on a procfs: a mount put over it must not receive the write.
func writeProc(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	if fs.Type != unix.PROC_SUPER_MAGIC {
		return text(path + " is not on procfs")
	}
	_, err = unix.Write(fd, []byte(value))
	return err
}
