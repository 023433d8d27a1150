package supervise

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// openStreams makes what will be the standard streams of the container's first process, and starts to read the other
// ends. The returned descriptors belong to the child; closeFiles closes the keeper's copies.
func (x *container) openStreams(k *Keeper) (files []int, closeFiles func(), err error) {
	closeFiles = func() {
		for _, fd := range files {
			unix.Close(fd)
		}
	}
	null := func() error {
		fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == nil {
			files = append(files, fd)
		}
		return err
	}
	if x.spec.TTY {
		for range 3 {
			if err := null(); err != nil {
				return files, closeFiles, err
			}
		}
		return files, closeFiles, nil
	}
	if x.spec.Stdin {
		r, w, err := pipe(false)
		if err != nil {
			return files, closeFiles, err
		}
		files = append(files, r)
		x.stdin = os.NewFile(uintptr(w), "stdin")
	} else if err := null(); err != nil {
		return files, closeFiles, err
	}
	for _, name := range [...]byte{wire.KindStdout, wire.KindStderr} {
		r, w, err := pipe(true)
		if err != nil {
			return files, closeFiles, err
		}
		files = append(files, w)
		x.out.follow(os.NewFile(uintptr(r), "out"), name)
	}
	return files, closeFiles, nil
}

// pipe makes a pipe of which one end, the keeper's, does not block: the reading end or the writing one.
func pipe(keeperReads bool) (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, wrap("pipe", err)
	}
	own := p[1]
	if keeperReads {
		own = p[0]
	}
	if err := unix.SetNonblock(own, true); err != nil {
		return -1, -1, wrap("pipe", err)
	}
	return p[0], p[1], nil
}

// setMaster takes over the terminal's master: it is what the container writes to, and its input.
func (x *container) setMaster(k *Keeper, fd int) {
	if unix.SetNonblock(fd, true) != nil {
		unix.Close(fd)
		return
	}
	x.master = os.NewFile(uintptr(fd), "tty")
	if x.spec.Stdin {
		x.stdinMu.Lock()
		x.stdin = x.master
		x.stdinMu.Unlock()
	}
	x.out.follow(x.master, wire.KindStdout)
}

// closeStdin ends the input of a container. A terminal stays open: its input ends with ^D.
func (x *container) closeStdin() {
	x.stdinMu.Lock()
	defer x.stdinMu.Unlock()
	if x.stdin != nil && x.stdin != x.master {
		x.stdin.Close()
	}
	x.stdin = nil
}

// output is where what a container writes goes: the log and whoever is attached.
type output struct {
	k       *Keeper
	path    string
	readers sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	log      int        // descriptor, -1: none
	attached map[*listener]struct{}
	tails    [2][]byte // unfinished line of stdout and stderr
	pieces   int       // how many have come
	closed   bool
}

// listener is an attached client.
type listener struct {
	conn           *conn
	stdout, stderr bool
	gone           chan struct{}
}

// attachPatience is how long a client that does not read may hold up the container's output before it is let go.
const attachPatience = 5 * time.Second

func newOutput(k *Keeper, path string) (*output, error) {
	o := &output{k: k, path: path, log: -1}
	if path == "" {
		return o, nil
	}
	fd, err := openLog(path)
	if err != nil {
		return nil, wrap("open log "+path, err)
	}
	o.log = fd
	return o, nil
}

func openLog(path string) (int, error) {
	return unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o640)
}

// reopen opens the log by its path again, after the file was renamed.
func (k *Keeper) reopen(id string) error {
	x, err := k.find(id)
	if err != nil {
		return err
	}
	o := x.out
	if o == nil || o.path == "" {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock() // nothing is written to the old file any more once there is a new one
	if o.closed {
		return nil
	}
	fd, err := openLog(o.path)
	if err != nil {
		return wrap("open log "+o.path, err)
	}
	if o.log >= 0 {
		unix.Close(o.log)
	}
	o.log = fd
	return nil
}

// follow reads one stream to its end in a goroutine that drain waits for. While there is nothing to read it holds no
// buffer: all streams of the keeper share one.
func (o *output) follow(f *os.File, stream byte) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	o.readers.Go(func() {
		var p pace
		for n := o.readSome(raw, stream); n > 0; n = o.readSome(raw, stream) {
			p.rest(n, raw)
		}
		o.end(stream)
		if stream != wire.KindStdout || f.Name() != "tty" {
			f.Close()
		}
	})
}

// readSome waits for output and deals with one piece of it, of n bytes. None: the stream has ended.
func (o *output) readSome(raw syscall.RawConn, stream byte) (n int) {
	k := o.k
	var (
		piece []byte // copy for those attached
		rerr  error
	)
	err := raw.Read(func(fd uintptr) bool {
		k.scratchMu.Lock()
		defer k.scratchMu.Unlock()
		if k.scratch == nil {
			k.scratch = make([]byte, batch) // as much as a pipe holds
		}
		n, rerr = unix.Read(int(fd), k.scratch)
		if rerr == unix.EAGAIN || rerr == unix.EINTR {
			return false
		}
		if n > 0 {
			o.write(k.scratch[:n], stream)
			if o.hasListener() {
				piece = append([]byte(nil), k.scratch[:n]...)
			}
		}
		return true
	})
	if err != nil || rerr != nil {
		return 0 // EIO is how a terminal says that nobody holds its other end
	}
	if piece != nil {
		o.deliver(piece, stream)
	}
	return n
}

// drain waits for the streams to end, for as long as more comes, and at most ten times the limit.
func (o *output) drain(limit time.Duration) {
	done := make(chan struct{})
	go func() { o.readers.Wait(); close(done) }()
	timer := time.NewTicker(limit)
	defer timer.Stop()
	last := o.count()
	for range 10 {
		select {
		case <-done:
			return
		case <-timer.C:
		}
		now := o.count()
		if now == last {
			return
		}
		last = now
	}
}

// count is how many pieces have come.
func (o *output) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pieces
}

// close ends the log and lets attached clients go.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
	if o.log >= 0 {
		unix.Close(o.log)
		o.log = -1
	}
	for l := range o.attached {
		close(l.gone)
	}
	o.attached = nil
}

func (o *output) hasListener() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.attached) > 0
}

// deliver sends a piece of output to those attached to its stream.
func (o *output) deliver(piece []byte, stream byte) {
	o.mu.Lock()
	all := make([]*listener, 0, len(o.attached))
	for l := range o.attached {
		if stream == wire.KindStdout && l.stdout || stream == wire.KindStderr && l.stderr {
			all = append(all, l)
		}
	}
	o.mu.Unlock()
	for _, l := range all {
		_ = l.conn.file.SetWriteDeadline(time.Now().Add(attachPatience))
		if l.conn.send(stream, piece) != nil {
			o.detach(l)
		}
	}
}

func (o *output) detach(l *listener) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.attached[l]; ok {
		delete(o.attached, l)
		close(l.gone)
	}
}
