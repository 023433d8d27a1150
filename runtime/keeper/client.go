package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// ErrGone reports a keeper that does not run any more.
var ErrGone = errors.New("the pod's keeper is gone")

// Error is what a keeper answered instead of doing what it was asked.
type Error string

func (e Error) Error() string { return string(e) }

// Keeper is the daemon's handle on one keeper. Its methods may be called at the same time; each uses a connection of its
// own, so that a slow request does not hold up another.
type Keeper struct {
	PID int

	dir   string
	child bool // this process started it and has to reap it

	mu    sync.Mutex // guards watch
	watch net.Conn   // carries states; consumed by Watch
}

// Dial finds the keeper that lives in dir, after a restart of the daemon. ErrGone: there is none.
func Dial(ctx context.Context, dir string) (*Keeper, error) {
	data, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		return nil, ErrGone
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, ErrGone
	}
	k := &Keeper{dir: dir, PID: pid}
	conn, err := k.connect(ctx)
	if err != nil {
		return nil, ErrGone
	}
	if err := wire.WriteFrame(conn, wire.KindWatch, nil); err != nil {
		conn.Close()
		return nil, ErrGone
	}
	k.watch = conn
	return k, nil
}

// Watch calls f with every state that the keeper tells: after Dial first those of all its containers, then done is called
// (if not nil) once, then changes. It returns when the keeper ends, after reaping it if it is a child, or when ctx ends. It
// may be called once.
func (k *Keeper) Watch(ctx context.Context, f func(wire.State), done func()) error {
	k.mu.Lock()
	conn := k.watch
	k.watch = nil
	k.mu.Unlock()
	if conn == nil {
		return errors.New("the keeper is watched already")
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var buf []byte
	for {
		kind, payload, err := wire.ReadFrame(conn, buf)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if k.child {
				wait(k.PID)
			}
			return ErrGone
		}
		buf = payload[:cap(payload)]
		switch kind {
		case wire.KindState:
			s, err := wire.DecodeState(payload)
			if err != nil {
				return err
			}
			f(s)
		case wire.KindOK:
			if done != nil {
				done()
				done = nil
			}
		}
	}
}

// Create takes a container up to the point before its program.
func (k *Keeper) Create(ctx context.Context, m wire.Create) (wire.Created, error) {
	b, err := k.ask(ctx, wire.KindCreate, m.Encode())
	if err != nil {
		return wire.Created{}, err
	}
	return wire.DecodeCreated(b)
}

// Start lets a created container run.
func (k *Keeper) Start(ctx context.Context, id string) (wire.State, error) {
	b, err := k.ask(ctx, wire.KindStart, wire.Ref{ID: id}.Encode())
	if err != nil {
		return wire.State{}, err
	}
	return wire.DecodeState(b)
}

// Signal sends a signal to a container; one that has ended is no error.
func (k *Keeper) Signal(ctx context.Context, m wire.Signal) error {
	_, err := k.ask(ctx, wire.KindSignal, m.Encode())
	return err
}

// Forget drops an ended container and its exit record.
func (k *Keeper) Forget(ctx context.Context, id string) error {
	_, err := k.ask(ctx, wire.KindForget, wire.Ref{ID: id}.Encode())
	return err
}

// Reopen makes the keeper open a container's log by its path again.
func (k *Keeper) Reopen(ctx context.Context, id string) error {
	_, err := k.ask(ctx, wire.KindReopen, wire.Ref{ID: id}.Encode())
	return err
}

// Stop kills all containers and ends the keeper. A keeper that does not answer in time is killed.
func (k *Keeper) Stop(ctx context.Context) error {
	_, err := k.ask(ctx, wire.KindStop, nil)
	if err == nil || errors.Is(err, ErrGone) {
		return nil
	}
	return k.Kill()
}

// Kill ends the keeper's process, having made sure that the number is still its own.
func (k *Keeper) Kill() error {
	fd, err := unix.PidfdOpen(k.PID, 0)
	if err != nil {
		return nil // gone
	}
	defer unix.Close(fd)
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", k.PID))
	if err != nil || !strings.HasPrefix(string(name), "proa-keeper\x00") {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("kill keeper %d: %w", k.PID, err)
	}
	return nil
}

// ExitRecord reads what the keeper in dir wrote about a container's end; false if it wrote nothing.
func ExitRecord(dir, id string) (wire.State, bool) {
	data, err := os.ReadFile(filepath.Join(dir, "exit", id))
	if err != nil {
		return wire.State{}, false
	}
	s, err := wire.DecodeState(data)
	return s, err == nil
}

// Streams is an exec or attach in progress: frames both ways.
type Streams struct {
	Conn    net.Conn
	Created wire.Created // of an exec
}

// Exec starts a process in a container. Closing the connection kills it.
func (k *Keeper) Exec(ctx context.Context, m wire.Exec) (*Streams, error) {
	return k.stream(ctx, wire.KindExec, m.Encode())
}

// Attach joins a container's streams.
func (k *Keeper) Attach(ctx context.Context, m wire.Attach) (*Streams, error) {
	return k.stream(ctx, wire.KindAttach, m.Encode())
}

func (k *Keeper) stream(ctx context.Context, kind byte, payload []byte) (*Streams, error) {
	conn, err := k.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := wire.WriteFrame(conn, kind, payload); err != nil {
		conn.Close()
		return nil, ErrGone
	}
	b, err := answer(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	created, err := wire.DecodeCreated(b)
	return &Streams{conn, created}, err
}

// ask makes one request.
func (k *Keeper) ask(ctx context.Context, kind byte, payload []byte) ([]byte, error) {
	conn, err := k.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := wire.WriteFrame(conn, kind, payload); err != nil {
		return nil, ErrGone
	}
	return answer(ctx, conn)
}

func (k *Keeper) connect(ctx context.Context) (net.Conn, error) {
	dir, err := os.Open(k.dir)
	if err != nil {
		return nil, ErrGone
	}
	defer dir.Close()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/sock", dir.Fd()))
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, ErrGone
	}
	return conn, nil
}

// answer reads the answer to a request.
func answer(ctx context.Context, conn net.Conn) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	kind, payload, err := wire.ReadFrame(conn, nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET) {
			return nil, ErrGone
		}
		return nil, err
	}
	switch kind {
	case wire.KindOK:
		return payload, nil
	case wire.KindError:
		return nil, Error(payload)
	}
	return nil, wire.ErrMalformed
}
