package stage

import (
	"strconv"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// openTerminal makes a pseudo terminal of the container's own devpts, makes it the controlling terminal and the standard
// streams of this process, and returns its master. The container's first process also finds it at /dev/console.
func openTerminal(p *wire.Process, console bool) (int, error) {
	master, err := unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, wrap("open /dev/pts/ptmx", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(master, &fs); err != nil || fs.Type != unix.DEVPTS_SUPER_MAGIC {
		return -1, text("/dev/pts is not a devpts")
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, wrap("unlock terminal", err)
	}
	// The slave is opened through the master, not by a name in the container.
	slave, err := peer(master)
	if err != nil {
		return -1, err
	}
	if p.Width > 0 && p.Height > 0 {
		size := unix.Winsize{Row: uint16(p.Height), Col: uint16(p.Width)}
		if err := unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, &size); err != nil {
			return -1, wrap("terminal size", err)
		}
	}
	if console {
		if err := bindConsole(master); err != nil {
			return -1, err
		}
	}
	if err := unix.IoctlSetInt(slave, unix.TIOCSCTTY, 0); err != nil {
		return -1, wrap("controlling terminal", err)
	}
	for fd := range 3 {
		if err := unix.Dup3(slave, fd, 0); err != nil {
			return -1, wrap("terminal as stdio", err)
		}
	}
	return master, unix.Close(slave)
}

// peer opens the slave of a master (TIOCGPTPEER, Linux 4.13).
func peer(master int) (int, error) {
	r, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if e != 0 {
		return -1, wrap("open terminal", e)
	}
	return int(r), nil
}

// bindConsole binds the slave over /dev/console.
func bindConsole(master int) error {
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return wrap("terminal number", err)
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrap("open /", err)
	}
	defer unix.Close(root)
	if err := makeIn(root, "/dev/console", true); err != nil {
		return err
	}
	at, err := openIn(root, "/dev/console", unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return wrap("/dev/console", err)
	}
	defer unix.Close(at)
	pts, err := openIn(root, "/dev/pts/"+strconv.Itoa(n), unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return wrap("terminal", err)
	}
	defer unix.Close(pts)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(pts, &fs); err != nil || fs.Type != unix.DEVPTS_SUPER_MAGIC {
		return text("/dev/pts is not a devpts")
	}
	tree, err := cloneTree(pts, "", false)
	if err != nil {
		return wrap("bind /dev/console", err)
	}
	defer unix.Close(tree)
	return wrap("bind /dev/console", moveOnto(tree, at))
}
