package supervise

import (
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// process is a child of the keeper.
type process struct {
	pid    int
	done   chan struct{} // closed when reaped
	status unix.WaitStatus
}

// code is the exit code as a shell says it.
func (p *process) code() int64 {
	if p.status.Signaled() {
		return 128 + int64(p.status.Signal())
	}
	return int64(p.status.ExitStatus())
}

// child says how to fork.
type child struct {
	args   []string
	files  []int // become 0, 1, 2, ...
	clone  uintptr
	pidNS  int    // pidfd of a process whose PID namespace the child joins; -1: the keeper's, unless clone says new
	cgroup string // v2 directory to be cloned into
	procs  []string
	path   string // program; empty: the keeper's own binary
	dies   bool   // with the keeper
	env    []string
}

// forker runs the forks, one at a time, on a thread of its own: the PID namespace that children are born in belongs to
// the thread.
func (k *Keeper) forker() {
	runtime.LockOSThread()
	for f := range k.forks {
		f()
	}
}

// fork starts a child and registers it, so that its end is never missed, then moves it to its v1 cgroups.
func (k *Keeper) fork(c child) (*process, error) {
	var (
		p    *process
		err  error
		done = make(chan struct{})
	)
	k.forks <- func() {
		defer close(done)
		p, err = k.forkHere(c)
	}
	<-done
	if err != nil {
		return nil, err
	}
	for _, file := range c.procs {
		if err := writeFile(file, itoa(int64(p.pid)), unix.O_WRONLY); err != nil {
			_ = unix.Kill(p.pid, unix.SIGKILL) // reaped like any other
			return nil, wrap("enter cgroup "+file, err)
		}
	}
	return p, nil
}

func (k *Keeper) forkHere(c child) (*process, error) {
	attr := &syscall.ProcAttr{Env: c.env, Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: c.clone}}
	for _, fd := range c.files {
		attr.Files = append(attr.Files, uintptr(fd))
	}
	if c.dies {
		attr.Sys.Pdeathsig = unix.SIGKILL // tied to the forking thread, which lives as long as the keeper
	}
	if c.cgroup != "" {
		dir, err := unix.Open(c.cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, wrap("open cgroup "+c.cgroup, err)
		}
		defer unix.Close(dir)
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, dir
	}
	if c.pidNS >= 0 {
		if err := unix.Setns(c.pidNS, unix.CLONE_NEWPID); err != nil {
			return nil, wrap("join PID namespace", err)
		}
		defer k.homeNS()
	}
	path := c.path
	if path == "" {
		path = "/proc/self/exe"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	pid, err := syscall.ForkExec(path, c.args, attr)
	if err != nil {
		return nil, wrap("fork "+c.args[0], err)
	}
	p := &process{pid: pid, done: make(chan struct{})}
	k.procs[pid] = p
	return p, nil
}

// homeNS sets the PID namespace of later children back to the keeper's own. If that is impossible the keeper cannot do
// its work any more; ending is better than putting containers where they do not belong.
func (k *Keeper) homeNS() {
	fd, err := unix.Open("/proc/self/ns/pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		os.Exit(1)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWPID); err != nil {
		os.Exit(1)
	}
}

// reap collects every child that ends, own or orphaned.
func (k *Keeper) reap() {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGCHLD)
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGPIPE)
	k.reapNow()
	for range ch {
		k.reapNow()
	}
}

func (k *Keeper) reapNow() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		p := k.procs[pid]
		if p == nil { // an orphan
			if k.expecting > 0 {
				k.orphans[pid] = ws
			}
			continue
		}
		delete(k.procs, pid)
		p.status = ws
		close(p.done)
		for _, x := range k.containers {
			if x.proc == p {
				go k.finish(x)
			}
		}
	}
}

// startPause makes the PID namespace that the pod's containers share.
func (k *Keeper) startPause() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	var p *process
	if k.user < 0 {
		p, err = k.fork(child{args: []string{"proa-keeper", "pause"}, files: []int{null, null, null},
			clone: unix.CLONE_NEWPID, pidNS: -1, env: stageEnv(), dies: true})
	} else {
		p, err = k.startPauseMapped(null)
	}
	if err != nil {
		return err
	}
	k.shared, err = unix.PidfdOpen(p.pid, 0)
	return err
}

// stageEnv keeps the Go runtime of short-lived stages from collecting garbage and from starting threads.
func stageEnv() []string { return []string{"GOGC=off", "GOMAXPROCS=1"} }

// talk is the keeper's end of the conversation with a stage.
type talk struct{ file *os.File }

// newTalk makes a socket pair: the keeper's end, and the descriptor for the stage.
func newTalk() (talk, int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return talk{}, -1, err
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return talk{}, -1, err
	}
	return talk{os.NewFile(uintptr(pair[0]), "stage")}, pair[1], nil
}

// report reads the stage's answer: who the program will be, and the master of its terminal or -1.
func (t talk) report() (wire.Created, int, error) {
	buf := make([]byte, 4096)
	n, master := 0, -1
	for {
		m, fd, err := t.receive(buf[n:])
		if fd >= 0 {
			master = fd
		}
		if err != nil {
			return wire.Created{}, master, wrap("read from first stage", err)
		}
		if m == 0 {
			return wire.Created{}, master, text("first stage ended without a word")
		}
		n += m
		kind, payload, err := wire.ReadFrame(strings.NewReader(string(buf[:n])), nil)
		if err != nil && n < len(buf) {
			continue // not the whole frame yet
		}
		if err != nil {
			return wire.Created{}, master, err
		}
		if kind == wire.KindError {
			return wire.Created{}, master, text(payload)
		}
		c, err := wire.DecodeCreated(payload)
		return c, master, err
	}
}

// receive reads once, with a descriptor if one is attached.
func (t talk) receive(buf []byte) (n, fd int, err error) {
	fd = -1
	raw, err := t.file.SyscallConn()
	if err != nil {
		return 0, fd, err
	}
	oob := make([]byte, unix.CmsgSpace(4))
	var oobn int
	rerr := raw.Read(func(s uintptr) bool {
		n, oobn, _, _, err = unix.Recvmsg(int(s), buf, oob, unix.MSG_CMSG_CLOEXEC)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if err == nil {
		err = rerr
	}
	if oobn > 0 {
		fd = oneRight(oob[:oobn])
	}
	return n, fd, err
}

// send gives the stage its Launch.
func (t talk) send(launch []byte) error {
	return wrap("send launch", wire.WriteFrame(t.file, wire.KindCreate, launch))
}

// sendStart lets the stage execute its program.
func (t talk) sendStart() error {
	return wrap("start", wire.WriteFrame(t.file, wire.KindStart, nil))
}

// started waits for the socket to close, which says that the program runs.
func (t talk) started() error {
	kind, payload, err := wire.ReadFrame(t.file, nil)
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return wrap("read from first stage", err)
	}
	if kind == wire.KindError {
		return text(payload)
	}
	return wire.ErrMalformed
}

func oneRight(oob []byte) int {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) == 0 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) == 0 {
		return -1
	}
	return fds[0]
}
