package supervise

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// launchExternal runs a command that leaves the container's first process behind, with the container's streams.
func (k *Keeper) launchExternal(x *container, files []int) (wire.Created, error) {
	console, err := listenConsole(x.spec.Console)
	if err != nil {
		return wire.Created{}, err
	}
	defer console.close()
	p, err := k.leave(child{args: x.spec.External, files: files, cgroup: x.spec.CgroupDir, procs: x.spec.CgroupProcs}, x.spec.PIDFile)
	if err != nil {
		return wire.Created{}, err
	}
	k.adopt(x, p)
	if x.spec.TTY {
		fd, err := console.accept()
		if err != nil {
			return wire.Created{}, wrap("terminal", err)
		}
		x.setMaster(k, fd)
	}
	return wire.Created{PID: int64(p.pid)}, nil
}

// execExternal runs a command that leaves the additional process behind.
func (k *Keeper) execExternal(s *session, m wire.Exec, files []int) error {
	console, err := listenConsole(m.Console)
	if err != nil {
		return err
	}
	defer console.close()
	c := child{args: m.External, files: files, cgroup: m.CgroupDir, procs: m.CgroupProcs}
	if s.proc, err = k.leave(c, m.PIDFile); err != nil {
		return err
	}
	if m.TTY {
		fd, err := console.accept()
		if err != nil {
			return wrap("terminal", err)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
		s.tty = os.NewFile(uintptr(fd), "tty")
	}
	return nil
}

// leave runs a command that leaves a process behind and writes its ID to a file. The process becomes the keeper's child,
// because the keeper is a subreaper; it may have ended by then.
func (k *Keeper) leave(c child, pidFile string) (*process, error) {
	defer k.expect()()
	if err := k.runWith(c, nil); err != nil {
		return nil, err
	}
	data, err := readFile(pidFile)
	if err != nil {
		return nil, wrap("read "+pidFile, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(data))
	if err != nil || pid <= 1 {
		return nil, text("no process ID in " + pidFile)
	}
	return k.claim(pid), nil
}

// expect has orphans that end remembered, until the function that it returns is called.
func (k *Keeper) expect() (done func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expecting++
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.expecting--; k.expecting == 0 {
			clear(k.orphans)
		}
	}
}

// claim registers a child that the keeper did not fork itself. It may have ended by now, if it was expected.
func (k *Keeper) claim(pid int) *process {
	p := &process{pid: pid, done: make(chan struct{})}
	k.mu.Lock()
	defer k.mu.Unlock()
	if ws, ok := k.orphans[pid]; ok {
		delete(k.orphans, pid)
		p.status = ws
		close(p.done)
		return p
	}
	k.procs[pid] = p
	return p
}

// runCommand runs a command to its end.
func (k *Keeper) runCommand(args []string) error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	r, w, err := pipe(true)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(r), "out")
	defer out.Close()
	err = k.runWith(child{args: args, files: []int{null, w, w}}, func() string {
		unix.Close(w)
		buf := make([]byte, 4096)
		n, _ := out.Read(buf)
		return string(buf[:n])
	})
	return err
}

// runWith runs a command to its end. said, if any, returns what it wrote, for the error.
func (k *Keeper) runWith(c child, said func() string) error {
	c.path, c.pidNS, c.env = c.args[0], -1, os.Environ()
	p, err := k.fork(c)
	if err != nil {
		return err
	}
	<-p.done
	words := ""
	if said != nil {
		words = ": " + strings.TrimSpace(said())
	}
	if code := p.code(); code != 0 {
		return text(c.path + " exited with code " + itoa(code) + words)
	}
	return nil
}

// console is a socket on which an OCI runtime hands over the master of a terminal.
type console struct {
	path string
	file *os.File
}

func listenConsole(path string) (*console, error) {
	if path == "" {
		return &console{}, nil
	}
	_ = unix.Unlink(path) // left by an attempt before
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, wrap("console socket "+path, err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		unix.Close(fd)
		return nil, wrap("console socket "+path, err)
	}
	return &console{path, os.NewFile(uintptr(fd), "console")}, nil
}

// consolePatience bounds the wait for a terminal that the command has, by its exit code, handed over already.
const consolePatience = 10 * time.Second

// accept receives the master.
func (c *console) accept() (int, error) {
	if err := c.file.SetReadDeadline(time.Now().Add(consolePatience)); err != nil {
		return -1, err
	}
	raw, err := c.file.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	rerr := raw.Read(func(l uintptr) bool {
		fd, _, err = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if rerr != nil {
		return -1, rerr
	}
	if err != nil {
		return -1, err
	}
	t := talk{os.NewFile(uintptr(fd), "console")}
	defer t.file.Close()
	_, master, err := t.receive(make([]byte, 4096))
	if err == nil && master < 0 {
		err = text("the runtime sent no terminal")
	}
	return master, err
}

func (c *console) close() {
	if c.file != nil {
		c.file.Close()
		_ = unix.Unlink(c.path)
	}
}
