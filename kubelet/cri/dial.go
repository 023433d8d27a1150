package cri

import (
	"context"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxMessage bounds an answer of a runtime, as the kubelet's users know it from upstream: 16 MiB.
const maxMessage = 16 << 20

// Conn is a runtime behind a socket. It is a Runtime; Images gives its image service.
type Conn struct {
	conn *grpc.ClientConn
	c    runtimeapi.RuntimeServiceClient

	silent atomic.Bool // the runtime does not know GetContainerEvents
}

// Dial connects to a CRI socket, "/run/containerd/containerd.sock" or "unix:///...". The connection is made on first use and made
// again when it breaks.
func Dial(socket string) (*Conn, error) {
	target := socket
	if len(socket) > 0 && socket[0] == '/' {
		target = "unix://" + socket
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.WaitForReady(true)))
	if err != nil {
		return nil, fmt.Errorf("connect to the container runtime at %s: %w", socket, err)
	}
	return &Conn{conn: conn, c: runtimeapi.NewRuntimeServiceClient(conn)}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Images is the image service of the same socket.
func (c *Conn) Images() Images { return &images{runtimeapi.NewImageServiceClient(c.conn)} }

// Events implements Runtime. The channel closes at once where the runtime does not know GetContainerEvents.
func (c *Conn) Events(ctx context.Context) <-chan *runtimeapi.ContainerEventResponse {
	out := make(chan *runtimeapi.ContainerEventResponse, 64)
	go func() { // ends with ctx or with the stream; the receiver sees the channel close
		defer close(out)
		if c.silent.Load() {
			return
		}
		stream, err := c.c.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
		if err != nil {
			return
		}
		for {
			e, err := stream.Recv()
			if err != nil {
				c.silent.Store(status.Code(err) == codes.Unimplemented)
				return
			}
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

type images struct{ c runtimeapi.ImageServiceClient }
