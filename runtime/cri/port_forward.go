package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/sandbox"
)

// ForwardPort connects a stream with a port on the loopback addresses of a pod, until both directions have ended.
func (r *Runtime) ForwardPort(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	p, err := r.pod(ctx, id)
	if err != nil {
		return err
	}
	if port < 1 || port > 65535 {
		return fmt.Errorf("port %d is out of range", port)
	}
	netns := p.paths.NetNS
	if sandbox.HostNetwork(p.config) {
		netns = ""
	}
	conn, err := dialIn(ctx, netns, port)
	if err != nil {
		return fmt.Errorf("forward to port %d of pod sandbox %s: %w", port, p.id, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	back := make(chan error, 1)
	go func() { // ends when the pod closes, or with conn
		_, err := io.Copy(stream, conn)
		stream.Close()
		back <- err
	}()
	_, ferr := io.Copy(conn, stream)
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.CloseWrite()
	}
	berr := <-back
	if errors.Is(ferr, net.ErrClosed) || errors.Is(ferr, io.ErrClosedPipe) {
		ferr = nil
	}
	return errors.Join(ignoreClosed(ferr), ignoreClosed(berr))
}

// ignoreClosed drops the error of a side that simply went away.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return nil
	}
	return err
}

// dialIn connects to a loopback port in a network namespace, IPv4 first. A socket belongs to the namespace that its thread was in when it
// was made.
func dialIn(ctx context.Context, netns string, port int32) (conn net.Conn, err error) {
	err = within(netns, func() (err error) {
		conn, err = dialLoopback(ctx, port)
		return err
	})
	return conn, err
}

func dialLoopback(ctx context.Context, port int32) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	p := strconv.Itoa(int(port))
	conn, err := d.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", p))
	if err == nil {
		return conn, nil
	}
	if conn, err6 := d.DialContext(ctx, "tcp6", net.JoinHostPort("::1", p)); err6 == nil {
		return conn, nil
	}
	return nil, err
}
