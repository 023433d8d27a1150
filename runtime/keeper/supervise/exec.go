package supervise

import (
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// session is one exec in progress.
type session struct {
	conn  *conn
	proc  *process
	stdin *os.File   // pipe or terminal; nil: none
	tty   *os.File   // terminal; nil: none
	pipes []*os.File // stdout and stderr, not read before follow
	outs  sync.WaitGroup
}

// exec runs one more process in a container and connects it with c. The process is killed when the daemon goes away.
func (k *Keeper) exec(c *conn, payload []byte) {
	m, err := wire.DecodeExec(payload)
	if err != nil {
		c.fail(err)
		return
	}
	s := &session{conn: c}
	who, err := k.startExec(s, m)
	if err != nil {
		if s.proc != nil {
			k.kill(s.proc)
		}
		s.close()
		c.fail(err)
		return
	}
	who.PID = int64(s.proc.pid)
	c.ok(who.Encode())
	s.follow() // not before the answer, which is the first frame
	go func() {
		s.input()
		k.kill(s.proc)
	}()
	<-s.proc.done
	s.drain()
	var e wire.Encoder
	e.Int(s.proc.code())
	_ = c.send(wire.KindExecExit, e.Take()) // the daemon may be gone
	s.close()
}

// startExec forks the process and takes it to its program.
func (k *Keeper) startExec(s *session, m wire.Exec) (wire.Created, error) {
	files, err := s.openStreams(m)
	defer func() {
		for _, fd := range files {
			unix.Close(fd)
		}
	}()
	if err != nil {
		return wire.Created{}, err
	}
	if len(m.External) > 0 {
		return wire.Created{}, k.execExternal(s, m, files)
	}
	target, err := k.pidfd(m.ID)
	if err != nil {
		return wire.Created{}, err
	}
	defer unix.Close(target)
	t, stageFD, err := newTalk()
	if err != nil {
		return wire.Created{}, err
	}
	defer t.file.Close()
	c := child{args: []string{"proa-keeper", "exec"}, files: append(append([]int{}, files...), stageFD, target),
		pidNS: target, cgroup: m.CgroupDir, procs: m.CgroupProcs, env: stageEnv()}
	var proc *process
	if k.user < 0 {
		proc, err = k.fork(c)
	} else {
		proc, err = k.forkMapped(c, t, wire.Enter{Word: wire.EnterExec, Launch: m.Launch})
	}
	unix.Close(stageFD)
	if err != nil {
		return wire.Created{}, err
	}
	s.proc = proc
	if err := t.send(m.Launch); err != nil {
		return wire.Created{}, err
	}
	who, master, err := t.report()
	if master >= 0 && unix.SetNonblock(master, true) == nil {
		s.tty = os.NewFile(uintptr(master), "tty")
	}
	if err != nil {
		return who, err
	}
	if err := t.sendStart(); err != nil {
		return who, err
	}
	return who, t.started()
}

// openStreams makes the pipes and returns the child's ends.
func (s *session) openStreams(m wire.Exec) (files []int, err error) {
	null := func() error {
		fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == nil {
			files = append(files, fd)
		}
		return err
	}
	if m.TTY {
		for range 3 {
			if err := null(); err != nil {
				return files, err
			}
		}
		return files, nil
	}
	if m.Stdin {
		r, w, err := pipe(false)
		if err != nil {
			return files, err
		}
		files = append(files, r)
		s.stdin = os.NewFile(uintptr(w), "stdin")
	} else if err := null(); err != nil {
		return files, err
	}
	for range 2 {
		r, w, err := pipe(true)
		if err != nil {
			return files, err
		}
		files = append(files, w)
		s.pipes = append(s.pipes, os.NewFile(uintptr(r), "out"))
	}
	return files, nil
}

// follow copies output to the daemon.
func (s *session) follow() {
	if s.tty != nil {
		s.stdin = s.tty
		s.pipes = []*os.File{s.tty}
	}
	for i, f := range s.pipes {
		s.outs.Go(func() { s.output(f, wire.KindStdout+byte(i)) })
	}
}

func (s *session) output(f *os.File, stream byte) {
	buf := make([]byte, 8<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 && s.conn.send(stream, buf[:n]) != nil {
			// Nobody listens: the rest is read and dropped, so that the process can end.
			_, _ = io.Copy(io.Discard, f)
			break
		}
		if err != nil {
			break
		}
	}
	if f != s.tty {
		f.Close()
	}
}

// input serves the daemon's frames until it closes the connection.
func (s *session) input() {
	var buf []byte
	for {
		kind, payload, err := wire.ReadFrame(s.conn.file, buf)
		if err != nil {
			return
		}
		buf = payload[:cap(payload)]
		switch kind {
		case wire.KindStdin:
			if s.stdin == nil {
				continue
			}
			if len(payload) == 0 {
				s.endInput()
				continue
			}
			// A process that does not read its input any more loses it, as with a pipe in a shell.
			_, _ = s.stdin.Write(payload)
		case wire.KindResize:
			if m, err := wire.DecodeResize(payload); err == nil && s.tty != nil {
				_ = setSize(s.tty, m)
			}
		case wire.KindSignal:
			if m, err := wire.DecodeSignal(payload); err == nil && s.proc != nil {
				_ = unix.Kill(s.proc.pid, unix.Signal(m.Signal))
			}
		}
	}
}

func (s *session) endInput() {
	if s.stdin == s.tty && s.tty != nil {
		_, _ = s.tty.Write([]byte{4}) // ^D
		return
	}
	s.stdin.Close()
}

// drain waits for the rest of the output; a process left behind may hold the pipes open for ever.
func (s *session) drain() {
	done := make(chan struct{})
	go func() { s.outs.Wait(); close(done) }()
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

func (s *session) close() {
	for _, f := range s.pipes {
		f.Close() // closed already, unless a process left behind holds the other end
	}
	if s.stdin != nil && s.stdin != s.tty {
		s.stdin.Close()
	}
	if s.tty != nil {
		s.tty.Close()
	}
}

// kill ends a process, and those in its process group, unless it was reaped.
func (k *Keeper) kill(p *process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-p.done:
	default:
		if unix.Kill(-p.pid, unix.SIGKILL) != nil { // no group of its own
			_ = unix.Kill(p.pid, unix.SIGKILL) // ESRCH only
		}
	}
}

// attach connects c with the streams of a container until either side ends.
func (k *Keeper) attach(c *conn, payload []byte) {
	m, err := wire.DecodeAttach(payload)
	if err != nil {
		c.fail(err)
		return
	}
	x, err := k.find(m.ID)
	if err != nil {
		c.fail(err)
		return
	}
	k.mu.Lock()
	running := x.state.Phase != wire.PhaseExited && x.out != nil
	k.mu.Unlock()
	if !running {
		c.fail(text("container " + m.ID + " is not running"))
		return
	}
	l := &listener{conn: c, stdout: m.Stdout, stderr: m.Stderr, gone: make(chan struct{})}
	c.ok(nil)
	x.out.mu.Lock()
	if x.out.closed {
		x.out.mu.Unlock()
		return
	}
	if x.out.attached == nil {
		x.out.attached = map[*listener]struct{}{}
	}
	x.out.attached[l] = struct{}{}
	x.out.mu.Unlock()
	go func() {
		x.attachInput(c, m.Stdin)
		x.out.detach(l)
	}()
	<-l.gone
}

// attachInput serves the client's frames until it goes away.
func (x *container) attachInput(c *conn, stdin bool) {
	var buf []byte
	for {
		kind, payload, err := wire.ReadFrame(c.file, buf)
		if err != nil {
			break
		}
		buf = payload[:cap(payload)]
		switch {
		case kind == wire.KindStdin && stdin && len(payload) > 0:
			x.stdinMu.Lock()
			in := x.stdin
			x.stdinMu.Unlock()
			if in != nil {
				_, _ = in.Write(payload) // see session.input
			}
		case kind == wire.KindStdin && stdin && x.spec.StdinOnce:
			x.closeStdin()
		case kind == wire.KindResize:
			if m, err := wire.DecodeResize(payload); err == nil && x.master != nil {
				_ = setSize(x.master, m)
			}
		}
	}
	if stdin && x.spec.StdinOnce {
		x.closeStdin()
	}
}

// resize sets the size of a container's terminal.
func (k *Keeper) resize(m wire.Resize) error {
	x, err := k.find(m.ID)
	if err != nil {
		return err
	}
	if x.master == nil {
		return text("container " + m.ID + " has no terminal")
	}
	return setSize(x.master, m)
}

// setSize tells a terminal its size.
func setSize(f *os.File, m wire.Resize) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	size := unix.Winsize{Row: uint16(m.Height), Col: uint16(m.Width)}
	cerr := raw.Control(func(fd uintptr) { err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &size) })
	if cerr != nil {
		return cerr
	}
	return wrap("terminal size", err)
}
