package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// streamServer serves exec, attach and port-forward streams on a loopback port. URLs carry a token that works once.
type streamServer struct {
	listener net.Listener
	server   streaming.Server
}

func newStreamServer(r *Runtime) (*streamServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("streaming server: %w", err)
	}
	c := streaming.DefaultConfig
	c.Addr = l.Addr().String()
	c.BaseURL = &url.URL{Scheme: "http", Host: c.Addr}
	s, err := streaming.NewServer(c, (*streams)(r))
	if err != nil {
		l.Close()
		return nil, err
	}
	return &streamServer{l, s}, nil
}

// run serves until ctx ends.
func (s *streamServer) run(ctx context.Context) error {
	server := &http.Server{Handler: s.server, ReadHeaderTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("streaming server: %w", err)
	}
	return ctx.Err()
}

// Exec implements CRI.
func (r *Runtime) Exec(ctx context.Context, req *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	c, err := r.running(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	req.ContainerId = c.id
	return r.stream.server.GetExec(req)
}

// Attach implements CRI.
func (r *Runtime) Attach(ctx context.Context, req *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	c, err := r.running(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	req.ContainerId = c.id
	return r.stream.server.GetAttach(req)
}

// PortForward implements CRI.
func (r *Runtime) PortForward(ctx context.Context, req *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	if _, err := r.pod(ctx, req.PodSandboxId); err != nil {
		return nil, err
	}
	return r.stream.server.GetPortForward(req)
}

// streams is the Runtime as the streaming library wants it.
type streams Runtime

// Exec connects a new process of a container. A process that ends with a code other than 0 gives an exitError.
func (s *streams) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return (*Runtime)(s).ExecIn(ctx, id, cmd, Stdio{in, out, errOut, tty, resize})
}

// Attach connects with a container's own streams.
func (s *streams) Attach(ctx context.Context, id string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return (*Runtime)(s).AttachTo(ctx, id, Stdio{in, out, errOut, tty, resize})
}

// PortForward connects a stream with a port of a pod.
func (s *streams) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	return (*Runtime)(s).ForwardPort(ctx, id, port, stream)
}

// exitError says how a process ended, in the way that the streaming library understands.
type exitError int

func (e exitError) Error() string   { return fmt.Sprintf("command terminated with exit code %d", int(e)) }
func (e exitError) String() string  { return e.Error() }
func (e exitError) Exited() bool    { return true }
func (e exitError) ExitStatus() int { return int(e) }
