package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/wire"
	"proa.dev/runtime/oci"
)

// Stdio are the streams of an exec or attach. In, Out and Err may be nil; with TTY there is no Err.
type Stdio struct {
	In       io.Reader
	Out, Err io.WriteCloser
	TTY      bool
	Resize   <-chan remotecommand.TerminalSize
}

// running finds a container that runs.
func (r *Runtime) running(ctx context.Context, id string) (*ctr, error) {
	c, err := r.container(ctx, id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.rec.State != runtimeapi.ContainerState_CONTAINER_RUNNING || c.pod.keeper == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s is not running (%s)", id, c.rec.State)
	}
	return c, nil
}

// exec starts a process in a container.
func (r *Runtime) exec(ctx context.Context, id string, p oci.Process) (*keeper.Streams, error) {
	c, err := r.running(ctx, id)
	if err != nil {
		return nil, err
	}
	d, err := r.description(c)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	k := c.pod.keeper
	r.mu.Unlock()
	if k == nil {
		return nil, keeper.ErrGone
	}
	s, err := r.oci[c.pod.rec.Handler].Exec(ctx, k, d, p)
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", id, err)
	}
	return s, nil
}

// ExecIn runs a process in a container with the given streams until it ends, or ctx does, which kills it. It is what an Exec
// URL leads to, for callers in the same process. The error of a process that ends with another code than 0 has a method
// ExitStatus() int.
func (r *Runtime) ExecIn(ctx context.Context, id string, cmd []string, stdio Stdio) error {
	p := oci.Process{Args: cmd, TTY: stdio.TTY, Stdin: stdio.In != nil}
	s, err := r.exec(ctx, id, p)
	if err != nil {
		return err
	}
	defer s.Conn.Close()
	return bridge(ctx, s.Conn, stdio)
}

// AttachTo connects streams with a container's own until either side ends.
func (r *Runtime) AttachTo(ctx context.Context, id string, stdio Stdio) error {
	c, err := r.running(ctx, id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	k := c.pod.keeper
	r.mu.Unlock()
	if k == nil {
		return keeper.ErrGone
	}
	s, err := k.Attach(ctx, wire.Attach{ID: c.id, Stdin: stdio.In != nil && c.config.Stdin, Stdout: stdio.Out != nil, Stderr: stdio.Err != nil})
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", id, err)
	}
	defer s.Conn.Close()
	return bridge(ctx, s.Conn, stdio)
}

// bridge carries frames between a keeper and streams until the keeper's side ends.
func bridge(ctx context.Context, conn net.Conn, stdio Stdio) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var mu sync.Mutex // one frame at a time
	send := func(kind byte, payload []byte) error {
		mu.Lock()
		defer mu.Unlock()
		return wire.WriteFrame(conn, kind, payload)
	}
	if stdio.In != nil {
		go func() { // ends when the input does or, at the next byte, when the connection is closed
			buf := make([]byte, 8<<10)
			for {
				n, err := stdio.In.Read(buf)
				if n > 0 && send(wire.KindStdin, buf[:n]) != nil {
					return
				}
				if err != nil {
					_ = send(wire.KindStdin, nil) // the process may have ended
					return
				}
			}
		}()
	}
	done := make(chan struct{})
	defer close(done)
	if stdio.Resize != nil {
		go func() { // ends with bridge
			for {
				select {
				case size, ok := <-stdio.Resize:
					if !ok || send(wire.KindResize, wire.Resize{Width: uint64(size.Width), Height: uint64(size.Height)}.Encode()) != nil {
						return
					}
				case <-done:
					return
				}
			}
		}()
	}
	err := receive(conn, stdio)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// receive writes what a keeper sends to the streams. It returns at an exit code or when the connection ends.
func receive(conn net.Conn, stdio Stdio) error {
	write := func(w io.Writer, p []byte) {
		if w != nil {
			_, _ = w.Write(p) // a reader that has gone does not stop the process
		}
	}
	var buf []byte
	for {
		kind, payload, err := wire.ReadFrame(conn, buf)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) {
			return nil
		}
		if err != nil {
			return err
		}
		buf = payload[:cap(payload)]
		switch kind {
		case wire.KindStdout:
			write(stdio.Out, payload)
		case wire.KindStderr:
			write(stdio.Err, payload)
		case wire.KindExecExit:
			code := wire.NewDecoder(payload).Int()
			if code == 0 {
				return nil
			}
			return exitError(code)
		case wire.KindError:
			return keeper.Error(payload)
		}
	}
}

// maxSyncOutput is how much output of an ExecSync is kept of each stream, in bytes: what a message may carry.
const maxSyncOutput = 7 << 20

// ExecSync runs a process in a container and returns its output and exit code. After the timeout the process is killed.
func (r *Runtime) ExecSync(ctx context.Context, req *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	if len(req.Cmd) == 0 {
		return nil, status.Error(codes.InvalidArgument, "no command to execute")
	}
	run := ctx
	if req.Timeout > 0 {
		var cancel context.CancelFunc
		run, cancel = context.WithTimeout(ctx, time.Duration(req.Timeout)*time.Second)
		defer cancel()
	}
	var out, errOut capped
	err := r.ExecIn(run, req.ContainerId, req.Cmd, Stdio{Out: &out, Err: &errOut})
	var code exitError
	switch {
	case errors.As(err, &code):
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return nil, status.Errorf(codes.DeadlineExceeded, "command %q timed out: timeout %ds exceeded", req.Cmd, req.Timeout)
	case err != nil:
		return nil, err
	}
	return &runtimeapi.ExecSyncResponse{Stdout: out.Bytes(), Stderr: errOut.Bytes(), ExitCode: int32(code)}, nil
}

// capped keeps the first maxSyncOutput bytes.
type capped struct{ bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	if room := maxSyncOutput - c.Len(); len(p) > room {
		c.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return c.Buffer.Write(p)
}

// Close does nothing.
func (c *capped) Close() error { return nil }
