package stage

import (
	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// buildRoot makes the container's file system and enters it. The order matters: bind sources are cloned from the host's
// tree while it still has its propagation, only then is the tree of this namespace cut off from the host's. It returns the
// host's null device as a detached mount, for the masks.
func buildRoot(l *wire.Launch) (null int, err error) {
	null, root, trees, err := hostSide(l)
	if err != nil {
		return -1, err
	}
	mapped := l.IDs.Size > 0
	if mapped {
		err = moveOnto(root, unix.AT_FDCWD) // where the helper went, by a way that is not open to this user
	} else {
		err = unix.MoveMount(root, "", unix.AT_FDCWD, l.Root.At, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if err != nil {
		return -1, wrap("mount root at "+l.Root.At, err)
	}
	devs := !bindsDev(l.Mounts) && !mapped // there the helper has filled it
	for i := range l.Mounts {
		m := &l.Mounts[i]
		fd, err := attach(root, l.Root.At, m, trees[i])
		if err != nil {
			if m.Optional {
				continue
			}
			return -1, wrap("mount "+m.Target, err)
		}
		if devs && m.FSType == "tmpfs" && m.Target == "/dev" {
			if err := fillDev(fd, l.Devices); err != nil {
				return -1, err
			}
		}
		unix.Close(fd)
	}
	for i := range l.Devices {
		if d := &l.Devices[i]; !within(d.Path, "/dev") {
			if mapped {
				return -1, text("device " + d.Path + " outside of /dev cannot be made in a user namespace")
			}
			if err := makeDevice(root, d); err != nil {
				return -1, err
			}
		}
	}
	if err := ensureCwd(root, &l.Process); err != nil {
		return -1, err
	}
	return null, pivot(root)
}

// hostSide returns what comes from the host, as detached mounts: the null device, the root file system, and the trees of those of the
// Mounts that have one, -1 for the others. In a user namespace the helper has made them.
func hostSide(l *wire.Launch) (null, root int, trees []int, err error) {
	if l.IDs.Size > 0 {
		trees = make([]int, len(l.Mounts))
		for i := range l.Mounts {
			trees[i] = -1
			if m := &l.Mounts[i]; m.FSType == "" || m.FSType == "overlay" || isDev(m) {
				trees[i] = fdTrees + i
			}
		}
		// The copy of the host's tree came with this namespace; what it hears of the host's later mounts is of no use.
		err = wrap("make mounts private", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		return fdNull, fdRoot, trees, err
	}
	if trees, err = openSources(l.Mounts); err != nil {
		return -1, -1, nil, err
	}
	if null, err = hostNull(); err != nil {
		return -1, -1, nil, err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return -1, -1, nil, wrap("make mounts private", err)
	}
	root, err = makeRoot(&l.Root)
	return null, root, trees, err
}

// openSources clones the host trees that will be bound, as detached mounts with the propagation they shall have.
func openSources(mounts []wire.Mount) ([]int, error) {
	trees := make([]int, len(mounts))
	for i := range mounts {
		m := &mounts[i]
		trees[i] = -1
		if m.FSType != "" {
			continue
		}
		fd, err := cloneTree(unix.AT_FDCWD, m.Source, m.Recursive)
		if err != nil {
			return nil, wrap("bind source "+m.Source, err)
		}
		if err := setAttributes(fd, m); err != nil {
			return nil, wrap("attributes of "+m.Source, err)
		}
		trees[i] = fd
	}
	return trees, nil
}

func cloneTree(dir int, path string, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return unix.OpenTree(dir, path, flags)
}

// setAttributes gives a detached bind its flags and propagation. A read-only bind covers the mounts below it only when
// asked (recursive read-only); propagation always does, if the bind is recursive.
func setAttributes(fd int, m *wire.Mount) error {
	propagation := uint64(unix.MS_PRIVATE)
	switch m.Propagation {
	case wire.PropagateSlave:
		propagation = unix.MS_SLAVE
	case wire.PropagateShared:
		propagation = unix.MS_SHARED
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if m.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	attr := unix.MountAttr{Propagation: propagation}
	var times uint64 // the kernel wants the old access time mode cleared when one is set
	if m.Attr&unix.MOUNT_ATTR__ATIME != 0 {
		times = unix.MOUNT_ATTR__ATIME
	}
	if m.RecursiveRO {
		attr.Attr_set, attr.Attr_clr = m.Attr, times
	}
	if err := unix.MountSetattr(fd, "", flags, &attr); err != nil {
		return err
	}
	if m.Attr == 0 || m.RecursiveRO {
		return nil
	}
	return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: m.Attr, Attr_clr: times})
}

// hostNull returns the host's /dev/null as a detached mount, having checked that it is the null device.
func hostNull() (int, error) {
	fd, err := cloneTree(unix.AT_FDCWD, "/dev/null", false)
	if err != nil {
		return -1, wrap("open /dev/null", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, wrap("stat /dev/null", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
		return -1, text("/dev/null of the host is not the null device")
	}
	return fd, nil
}

// makeRoot makes the root file system as a detached mount.
func makeRoot(r *wire.Root) (int, error) {
	var (
		fd  int
		err error
	)
	if r.Dir != "" {
		if fd, err = cloneTree(unix.AT_FDCWD, r.Dir, true); err == nil {
			err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Propagation: unix.MS_PRIVATE})
		}
	} else {
		fd, err = overlay(r)
	}
	return fd, wrap("root file system", err)
}

// attach mounts one mount beneath root and returns its descriptor. tree is what the host gave for it, or -1.
func attach(root int, at string, m *wire.Mount, tree int) (int, error) {
	var err error
	if tree < 0 {
		if tree, err = makeTree(m, at); err != nil {
			return -1, err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return -1, err
	}
	target, err := targetOf(root, m, st.Mode&unix.S_IFMT != unix.S_IFDIR)
	if err != nil {
		return -1, err
	}
	defer unix.Close(target)
	if err := refuseProc(target, m); err != nil {
		return -1, err
	}
	return tree, moveOnto(tree, target)
}

// makeTree makes a detached mount that is no bind.
func makeTree(m *wire.Mount, at string) (int, error) {
	if m.FSType != "overlay" {
		return mountFS(m)
	}
	tree, err := imageMount(m, at)
	if err != nil || m.SubPath == "" {
		return tree, err
	}
	defer unix.Close(tree)
	part, err := clonePart(tree, m.SubPath)
	if is(err, unix.EINVAL) { // before Linux 6.15 only what is attached can be cloned
		part, err = cloneAttached(tree, m)
	}
	return part, wrap("sub path "+m.SubPath, err)
}

// clonePart makes a detached mount of a part of another mount.
func clonePart(tree int, path string) (int, error) {
	fd, err := openIn(tree, path, unix.O_PATH, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	return cloneTree(fd, "", false)
}

// cloneAttached is clonePart of an image that is attached for so long: over one of its layers, in this mount namespace, which is private.
func cloneAttached(tree int, m *wire.Mount) (int, error) {
	at := m.Lower[0]
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, err
	}
	part, err := clonePart(tree, m.SubPath)
	if undo := unix.Unmount(at, unix.MNT_DETACH); err == nil && undo != nil {
		unix.Close(part)
		return -1, undo
	}
	return part, err
}

// targetOf opens the place to mount at, made if it is missing. proc and sysfs never follow a link: an image that points
// /proc elsewhere would have the masks put in the wrong place.
func targetOf(root int, m *wire.Mount, file bool) (int, error) {
	resolve := uint64(0)
	if m.FSType == "proc" || m.FSType == "sysfs" {
		resolve = unix.RESOLVE_NO_SYMLINKS
	}
	fd, err := openIn(root, m.Target, unix.O_PATH, resolve)
	if err == nil || !is(err, unix.ENOENT) {
		return fd, err
	}
	if err := makeIn(root, m.Target, file); err != nil {
		return -1, err
	}
	return openIn(root, m.Target, unix.O_PATH, resolve)
}

// refuseProc keeps volumes out of /proc, apart from the files that lxcfs and its like provide: a bind over
// /proc/self/attr or /proc/sys could redirect writes that the runtime makes on the container's behalf.
func refuseProc(target int, m *wire.Mount) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(target, &fs); err != nil {
		return err
	}
	if fs.Type != unix.PROC_SUPER_MAGIC {
		return nil
	}
	switch clean(m.Target) {
	case "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime",
		"/proc/loadavg", "/proc/slabinfo", "/proc/net/dev":
		return nil
	case "/proc/sys/fs/binfmt_misc":
		return nil
	}
	return text("mounts inside /proc are not allowed")
}

// pivot makes root the root directory of this mount namespace and drops the host's tree.
func pivot(root int) error {
	if err := unix.Fchdir(root); err != nil {
		return wrap("enter root", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return wrap("pivot root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return wrap("detach the host's tree", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return wrap("chdir /", err)
	}
	return unix.Close(root)
}
