package stage

import (
	"strconv"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// mapIDs shows a detached mount through the pod's user namespace: what is root's on disk is the container's root's.
func mapIDs(tree int) error {
	return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: fdNamespace})
}

func isDev(m *wire.Mount) bool { return m.FSType == "tmpfs" && clean(m.Target) == "/dev" }

// hostDev makes /dev with its nodes, which nobody in a user namespace could make.
func hostDev(m *wire.Mount, l *wire.Launch) (int, error) {
	fd, err := mountFS(m)
	if err != nil {
		return -1, err
	}
	if !bindsDev(l.Mounts) {
		if err := fillDev(fd, l.Devices); err != nil {
			return -1, err
		}
	}
	return fd, mapIDs(fd)
}

// table is where layers lie that are shown through the user namespace. An overlay of them cannot be mapped itself, and has to be made by
// somebody whom the namespace knows, with all rights of the host's root.
type table struct {
	at   string
	ids  wire.IDMap
	next int
}

func (t *table) lay() error {
	fd, err := mountFS(&wire.Mount{FSType: "tmpfs", Source: "tmpfs", Data: "mode=700"})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.MoveMount(fd, "", unix.AT_FDCWD, t.at, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// place mounts a directory on the table, mapped, and returns where.
func (t *table) place(dir string) (string, error) {
	fd, err := cloneTree(unix.AT_FDCWD, dir, false)
	if err != nil {
		return "", wrap(dir, err)
	}
	defer unix.Close(fd)
	if err := mapIDs(fd); err != nil {
		return "", wrap("map the users of "+dir+" (does its file system allow it?)", err)
	}
	at := t.at + "/" + strconv.Itoa(t.next)
	t.next++
	if err := unix.Mkdir(at, 0o700); err != nil {
		return "", wrap(at, err)
	}
	return at, wrap(at, unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

func (t *table) placeAll(dirs []string) (at []string, err error) {
	at = make([]string, len(dirs))
	for i, dir := range dirs {
		if at[i], err = t.place(dir); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// root makes the root file system.
func (t *table) root(r wire.Root) (fd int, err error) {
	if r.Dir != "" {
		if fd, err = makeRoot(&r); err != nil {
			return -1, err
		}
		return fd, mapIDs(fd)
	}
	if r.Lower, err = t.placeAll(r.Lower); err != nil {
		return -1, err
	}
	if r.Upper != "" {
		// Both have to be on one mount.
		above, upper := split(clean(r.Upper))
		workAbove, work := split(clean(r.Work))
		if above != workAbove {
			return -1, text("the directories " + r.Upper + " and " + r.Work + " are not neighbours")
		}
		at, err := t.place(above)
		if err != nil {
			return -1, err
		}
		r.Upper, r.Work = at+"/"+upper, at+"/"+work
	}
	return asMapped(t.ids, func() (int, error) { return overlay(&r) })
}

// image makes the mount of an image volume.
func (t *table) image(m *wire.Mount) (int, error) {
	if len(m.Lower) > 1 {
		lower, err := t.placeAll(m.Lower)
		if err != nil {
			return -1, err
		}
		placed := *m
		placed.Lower = lower
		return asMapped(t.ids, func() (int, error) { return makeTree(&placed, t.at) })
	}
	fd, err := makeTree(m, t.at)
	if err != nil {
		return -1, err
	}
	return fd, mapIDs(fd)
}

// asMapped calls f as the user namespace's root, by its number on the host, with the capabilities of the host's root.
func asMapped(ids wire.IDMap, f func() (int, error)) (int, error) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		return -1, wrap("capabilities", err)
	}
	become := func(uid, gid int) error {
		// Neither says whether it worked.
		_, _ = unix.SetfsgidRetGid(gid)
		_, _ = unix.SetfsuidRetUid(uid) // takes capabilities of the file system away
		return wrap("capabilities", unix.Capset(&head, &caps[0]))
	}
	if err := become(int(ids.UID), int(ids.GID)); err != nil {
		return -1, err
	}
	fd, err := f()
	if back := become(0, 0); err == nil {
		err = back
	}
	return fd, err
}
