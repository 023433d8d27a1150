package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"proa.dev/kubelet/plugin"
)

// Socket is where plugins register, below the kubelet's directory.
const Socket = "device-plugins/kubelet.sock"

// connectWithin bounds the first words with a plugin.
const connectWithin = 10 * time.Second

// Run takes registrations until ctx ends. The sockets of plugins that are there when it begins are removed: that and the new socket of ours
// tells them to register again.
func (m *Manager) Run(ctx context.Context) error {
	if err := os.MkdirAll(m.dir, 0o750); err != nil {
		return fmt.Errorf("serve registrations of device plugins: %w", err)
	}
	if err := m.sweep(); err != nil {
		return fmt.Errorf("serve registrations of device plugins: %w", err)
	}
	listener, err := net.Listen("unix", filepath.Join(m.dir, filepath.Base(Socket)))
	if err != nil {
		return fmt.Errorf("serve registrations of device plugins: %w", err)
	}
	m.mu.Lock()
	m.life = ctx
	m.mu.Unlock()
	defer m.followers.Wait()
	server := grpc.NewServer()
	api.RegisterRegistrationServer(server, &registrar{m: m})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	err = server.Serve(listener)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve registrations of device plugins: %w", err)
}

// sweep removes sockets. Everything else in the folder belongs to somebody.
func (m *Manager) sweep() error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSocket != 0 {
			if err := os.Remove(filepath.Join(m.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// registrar is the service that plugins register at.
type registrar struct {
	api.UnimplementedRegistrationServer
	m *Manager
}

// Register implements the Registration service.
func (r *registrar) Register(ctx context.Context, req *api.RegisterRequest) (*api.Empty, error) {
	if req.GetVersion() != api.Version {
		return &api.Empty{}, fmt.Errorf("requested API version %q is not supported by kubelet. Supported version is %q", req.GetVersion(), api.SupportedVersions)
	}
	if !extended(req.GetResourceName()) {
		return &api.Empty{}, fmt.Errorf("the ResourceName %q is invalid", req.GetResourceName())
	}
	r.m.counts.registered.Add([1]string{req.GetResourceName()}, 1)
	return &api.Empty{}, r.m.connect(ctx, req.GetResourceName(), filepath.Join(r.m.dir, req.GetEndpoint()))
}

// conn is a plugin that has registered.
type conn struct {
	resource, socket string
	options          *api.DevicePluginOptions
	client           api.DevicePluginClient
	grpc             *grpc.ClientConn
}

// plugin is the one that registered last; nil if there is none.
func (a *advertised) plugin() *conn {
	if len(a.plugins) == 0 {
		return nil
	}
	return a.plugins[len(a.plugins)-1]
}

// connect takes a plugin into use; it is followed until it hangs up, or Run ends.
func (m *Manager) connect(ctx context.Context, resource, socket string) error {
	g, err := grpc.NewClient("unix://"+socket, grpc.WithAuthority("localhost"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("failed to dial device plugin: %v", err)
	}
	c := &conn{resource: resource, socket: socket, client: api.NewDevicePluginClient(g), grpc: g}
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	c.options, err = c.client.GetDevicePluginOptions(ctx, &api.Empty{}, grpc.WaitForReady(true))
	if err != nil {
		return errors.Join(fmt.Errorf("failed to get device plugin options: %v", err), g.Close())
	}
	m.mu.Lock()
	life := m.life
	a := m.resources[resource]
	if a == nil {
		a = &advertised{devices: map[string]*api.Device{}}
		m.resources[resource] = a
	}
	var former *conn
	if i := slices.IndexFunc(a.plugins, func(o *conn) bool { return o.socket == socket }); i >= 0 { // it was restarted, and was faster than the end of its stream
		former = a.plugins[i]
		a.plugins = slices.Delete(a.plugins, i, i+1)
	}
	a.plugins = append(a.plugins, c)
	m.mu.Unlock()
	if former != nil {
		former.grpc.Close()
	}
	m.log.Info("device plugin registered", "resource", resource, "socket", socket)
	m.followers.Go(func() { // ends with life, or with the plugin
		err := m.follow(life, c)
		m.disconnect(c)
		if life.Err() == nil {
			m.log.Info("device plugin gone", "resource", resource, "socket", socket, "err", err)
		}
	})
	return nil
}

// follow takes what the plugin tells of its devices.
func (m *Manager) follow(ctx context.Context, c *conn) error {
	stream, err := c.client.ListAndWatch(ctx, &api.Empty{})
	for err == nil {
		var list *api.ListAndWatchResponse
		if list, err = stream.Recv(); err == nil {
			m.update(c.resource, list.GetDevices())
		}
	}
	return err
}

// disconnect forgets a plugin. Without any, its resource has devices, but none that can be had.
func (m *Manager) disconnect(c *conn) {
	c.grpc.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.resources[c.resource]
	if a == nil || !slices.Contains(a.plugins, c) {
		return
	}
	a.plugins = slices.DeleteFunc(a.plugins, func(o *conn) bool { return o == c })
	if len(a.plugins) == 0 {
		a.stopped = time.Now()
	}
	m.tell()
}

func (c *conn) preStart(ctx context.Context, ids []string) error {
	ctx, cancel := context.WithTimeout(ctx, api.KubeletPreStartContainerRPCTimeoutInSecs*time.Second)
	defer cancel()
	_, err := c.client.PreStartContainer(ctx, &api.PreStartContainerRequest{DevicesIds: ids})
	return err
}

// Handler takes plugins that are found by their sockets instead of registering themselves.
func (m *Manager) Handler() plugin.Handler { return &found{m} }

type found struct{ m *Manager }

// Validate implements plugin.Handler.
func (f *found) Validate(i plugin.Info) error {
	if !slices.Contains(i.Versions, api.Version) {
		return fmt.Errorf("manager version, %s, is not among plugin supported versions %v", api.Version, i.Versions)
	}
	if !extended(i.Name) {
		return fmt.Errorf("invalid name of device plugin socket: the ResourceName %q is invalid", i.Name)
	}
	return nil
}

// Register implements plugin.Handler.
func (f *found) Register(ctx context.Context, i plugin.Info) error {
	return f.m.connect(ctx, i.Name, i.Endpoint)
}

// Deregister implements plugin.Handler.
func (f *found) Deregister(i plugin.Info) {
	f.m.mu.Lock()
	var c *conn
	if a := f.m.resources[i.Name]; a != nil {
		if at := slices.IndexFunc(a.plugins, func(o *conn) bool { return o.socket == i.Endpoint }); at >= 0 {
			c = a.plugins[at]
		}
	}
	f.m.mu.Unlock()
	if c != nil {
		f.m.disconnect(c)
	}
}
