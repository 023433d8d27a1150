package supervise

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// launchExternal runs a command that leaves the container's first process behind, with the container's streams. The
// process becomes the keeper's child when the command ends, because the keeper is a subreaper.
func (k *Keeper) launchExternal(x *container, files []int) (wire.Created, error) {
	console, err := listenConsole(x.spec.Console)
	if err != nil {
		return wire.Created{}, err
	}
	defer console.close()
	if err := k.runWith(x.spec.External, files, nil); err != nil {
		return wire.Created{}, err
	}
	data, err := readFile(x.spec.PIDFile)
	if err != nil {
		return wire.Created{}, wrap("read "+x.spec.PIDFile, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(data))
	if err != nil || pid <= 1 {
		return wire.Created{}, text("no process ID in " + x.spec.PIDFile)
	}
	p := &process{pid: pid, done: make(chan struct{})}
	k.mu.Lock()
	k.procs[pid] = p
	k.mu.Unlock()
	k.adopt(x, p)
	if x.spec.TTY {
		fd, err := console.accept()
		if err != nil {
			return wire.Created{}, wrap("terminal", err)
		}
		x.setMaster(k, fd)
	}
	return wire.Created{PID: int64(pid)}, nil
}

// execExternal runs a command that is the additional process as long as it lasts.
func (k *Keeper) execExternal(s *session, m wire.Exec, files []int, outs []*os.File) error {
	console, err := listenConsole(m.Console)
	if err != nil {
		return err
	}
	defer console.close()
	s.proc, err = k.fork(child{args: m.External, path: m.External[0], files: files, pidNS: -1, env: os.Environ()})
	if err != nil {
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
	s.follow(outs)
	return nil
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
	err = k.runWith(args, []int{null, w, w}, func() string {
		unix.Close(w)
		buf := make([]byte, 4096)
		n, _ := out.Read(buf)
		return string(buf[:n])
	})
	return err
}

// runWith runs a command with the given standard streams. said, if any, returns what it wrote, for the error.
func (k *Keeper) runWith(args []string, files []int, said func() string) error {
	p, err := k.fork(child{args: args, path: args[0], files: files, pidNS: -1, env: os.Environ()})
	if err != nil {
		return err
	}
	<-p.done
	words := ""
	if said != nil {
		words = ": " + strings.TrimSpace(said())
	}
	if code := p.code(); code != 0 {
		return text(args[0] + " exited with code " + itoa(code) + words)
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

// accept receives the master.
func (c *console) accept() (int, error) {
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
