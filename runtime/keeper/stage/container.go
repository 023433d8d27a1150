package stage

import (
	"runtime"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// Descriptors that the keeper hands to a stage.
const (
	fdSocket = 3 // stream socket to the keeper
	fdTarget = 4 // exec only: pidfd of the container's first process
)

// Container is the life of a container's first process up to its program. It does not return.
//
// The conversation on the socket: the keeper sends a Launch (KindCreate) once the process is in its cgroups; the stage
// answers Created (KindOK, with the terminal's master attached when there is one) or KindError; on KindStart it executes
// the program. The socket closing says that this worked; a KindError instead says why not.
func Container() {
	lockDown()
	launch, err := receive()
	if err != nil {
		die(err)
	}
	die(container(&launch))
}

func container(l *wire.Launch) error {
	p := &l.Process
	if l.CgroupNS {
		if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
			return wrap("new cgroup namespace", err)
		}
	}
	if err := setOOMScore(p); err != nil {
		return err
	}
	if l.Hostname != "" {
		if err := unix.Sethostname([]byte(l.Hostname)); err != nil {
			return wrap("set host name", err)
		}
	}
	null, err := buildRoot(l)
	if err != nil {
		return err
	}
	if err := WriteSysctls(l.Sysctls, wire.IDMap{}); err != nil {
		return err
	}
	master := -1
	if p.TTY {
		if master, err = openTerminal(p, true); err != nil {
			return err
		}
	}
	if err := hidePaths(l, null); err != nil {
		return err
	}
	return become(p, master)
}

// Exec is the life of an additional process of a running container up to its program. It does not return. The conversation
// is that of Container, with a Launch of which only Process counts.
func Exec() {
	lockDown()
	launch, err := receive()
	if err != nil {
		die(err)
	}
	p := &launch.Process
	if err := setOOMScore(p); err != nil {
		die(err)
	}
	if launch.IDs.Size == 0 { // else the helper has joined them all
		// Joining a mount namespace needs file system attributes of one's own.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			die(wrap("unshare fs", err))
		}
		if err := unix.Setns(fdTarget, unix.CLONE_NEWNS|unix.CLONE_NEWCGROUP); err != nil {
			die(wrap("join the container's namespaces", err))
		}
	}
	unix.Close(fdTarget)
	if err := unix.Chdir("/"); err != nil {
		die(wrap("chdir /", err))
	}
	master := -1
	if p.TTY {
		if master, err = openTerminal(p, false); err != nil {
			die(err)
		}
	}
	die(become(p, master))
}

// lockDown keeps the stage on one thread and out of reach of other processes of the container: not dumpable means that
// /proc/<pid> belongs to the host's root and cannot be traced.
func lockDown() {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		die(wrap("set not dumpable", err))
	}
	unix.CloseOnExec(fdSocket)
}

// receive waits for the Launch.
func receive() (wire.Launch, error) {
	kind, payload, err := wire.ReadFrame(rawReader(fdSocket), nil)
	if err != nil {
		return wire.Launch{}, wrap("read launch", err)
	}
	if kind != wire.KindCreate {
		return wire.Launch{}, wrap("read launch", wire.ErrMalformed)
	}
	return wire.DecodeLaunch(payload)
}

// report sends Created, and the master of the terminal with it.
func report(c wire.Created, master int) error {
	body := c.Encode()
	buf := make([]byte, 5+len(body))
	wire.PutHeader(buf, wire.KindOK, len(body))
	copy(buf[5:], body)
	var rights []byte
	if master >= 0 {
		rights = unix.UnixRights(master)
	}
	return wrap("report", unix.Sendmsg(fdSocket, buf, rights, nil, unix.MSG_NOSIGNAL))
}

// awaitStart blocks until the keeper says go. A keeper that is gone or says anything else ends the stage.
func awaitStart() {
	kind, _, err := wire.ReadFrame(rawReader(fdSocket), nil)
	if err != nil || kind != wire.KindStart {
		unix.Exit(125)
	}
}

// die reports err to the keeper and ends the process.
func die(err error) {
	text := err.Error()
	buf := make([]byte, 5+len(text))
	wire.PutHeader(buf, wire.KindError, len(text))
	copy(buf[5:], text)
	// Nobody is left to be told when even this write fails: the keeper then sees the socket close before an answer.
	_ = unix.Sendmsg(fdSocket, buf, nil, nil, unix.MSG_NOSIGNAL)
	unix.Exit(125)
}

// rawReader reads from a blocking descriptor.
type rawReader int

func (r rawReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(r), p)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, errEOF
		}
		return n, nil
	}
}
