package localvolume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	core "k8s.io/api/core/v1"

	"proa.dev/client"
	kinds "proa.dev/kinds/storage"
	"proa.dev/kubelet/plugin"
)

// Name is the driver's.
const Name = kinds.LocalDriver

// Registrar takes a driver into use, as the kubelet does.
type Registrar interface {
	Register(context.Context, plugin.Info) error
}

// Deps are what a Driver needs.
type Deps struct {
	Node    string // its name
	Dir     string // of all volumes
	Socket  string // where the driver is served
	Client  client.Client
	View    client.View
	Kubelet Registrar
	Log     *slog.Logger
}

// Driver is the one of this node.
type Driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	Deps
	store *store
}

// New makes the directory and starts nothing.
func New(d Deps) (*Driver, error) {
	s, err := openStore(d.Dir)
	if err != nil {
		return nil, err
	}
	return &Driver{Deps: d, store: s}, nil
}

// Run serves the driver, registers it and removes what is to be removed, until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	l, err := d.listen()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	srv := grpc.NewServer()
	csi.RegisterIdentityServer(srv, d)
	csi.RegisterControllerServer(srv, d)
	csi.RegisterNodeServer(srv, d)
	go func() { failed <- srv.Serve(l) }() // ends with srv.Stop, and is waited for
	defer func() { srv.Stop(); <-failed }()
	if err := d.register(ctx); err != nil {
		return err
	}
	news := make(chan *core.Node, 1) // the last one only
	var copier sync.WaitGroup
	defer copier.Wait()
	copier.Go(func() { d.copies(ctx, news) })
	return client.Watch(ctx, d.View, func(_ client.EventType, n, _ *core.Node) {
		if n == nil || n.Name != d.Node {
			return
		}
		d.tidy(ctx, n)
		if n.Annotations[kinds.LocalCopy] == "" && n.Annotations[kinds.LocalCopied] == "" {
			return
		}
		select {
		case <-news:
		default:
		}
		news <- n
	})
}

func (d *Driver) listen() (net.Listener, error) {
	if err := os.Remove(d.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", d.Socket)
	if err != nil {
		return nil, fmt.Errorf("socket of local volumes: %w", err)
	}
	return l, os.Chmod(d.Socket, 0o600)
}

// register tries until the API takes the node's objects.
func (d *Driver) register(ctx context.Context) error {
	info := plugin.Info{Type: plugin.CSI, Name: Name, Endpoint: d.Socket, Versions: []string{"1.12.0"}}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := d.Kubelet.Register(ctx, info)
		if err == nil {
			err = d.annotate(ctx, kinds.LocalQuota, d.store.quota())
		}
		if err == nil {
			return nil
		}
		d.Log.Debug("local volumes not registered yet", "err", err)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}
