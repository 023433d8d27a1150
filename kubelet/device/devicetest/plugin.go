package devicetest

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Plugin is one resource. Its exported fields are set before Serve.
type Plugin struct {
	api.UnimplementedDevicePluginServer
	Resource string
	Options  *api.DevicePluginOptions
	// Prefer chooses for GetPreferredAllocation; Answer is what a container needs for its devices.
	Prefer func(from, must []string, n int) []string
	Answer func(ids []string) *api.ContainerAllocateResponse

	server *grpc.Server

	mu      sync.Mutex // guards what follows
	devices []*api.Device
	news    chan struct{} // closed when devices changed
	calls   []string
}

// Serve serves on a socket beside the kubelet's and registers there, within 10 s.
func (p *Plugin) Serve(dir, name string, devices ...*api.Device) error {
	p.Set(devices...)
	listener, err := net.Listen("unix", filepath.Join(dir, name))
	if err != nil {
		return err
	}
	p.server = grpc.NewServer()
	api.RegisterDevicePluginServer(p.server, p)
	go p.server.Serve(listener) // ends with Stop
	return p.Register(dir, name)
}

// Register tells the kubelet of a socket.
func (p *Plugin) Register(dir, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+filepath.Join(dir, "kubelet.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = api.NewRegistrationClient(conn).Register(ctx, &api.RegisterRequest{
		Version: api.Version, Endpoint: name, ResourceName: p.Resource, Options: p.Options,
	}, grpc.WaitForReady(true))
	return err
}

// Stop ends the plugin and removes its socket.
func (p *Plugin) Stop() { p.server.Stop() }

// Set makes these the devices.
func (p *Plugin) Set(devices ...*api.Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.news != nil {
		close(p.news)
	}
	p.devices, p.news = devices, make(chan struct{})
}

// Calls are the calls so far: "Allocate a,b".
func (p *Plugin) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

func (p *Plugin) note(call string, ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call+" "+strings.Join(slices.Sorted(slices.Values(ids)), ","))
}

// Healthy is devices with these names, all well.
func Healthy(ids ...string) (out []*api.Device) {
	for _, id := range ids {
		out = append(out, &api.Device{ID: id, Health: api.Healthy})
	}
	return out
}

// On is a healthy device on NUMA nodes.
func On(id string, nodes ...int64) *api.Device {
	d := &api.Device{ID: id, Health: api.Healthy, Topology: &api.TopologyInfo{}}
	for _, n := range nodes {
		d.Topology.Nodes = append(d.Topology.Nodes, &api.NUMANode{ID: n})
	}
	return d
}

// GetDevicePluginOptions implements the service.
func (p *Plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	if p.Options == nil {
		return &api.DevicePluginOptions{}, nil
	}
	return p.Options, nil
}

// ListAndWatch implements the service.
func (p *Plugin) ListAndWatch(_ *api.Empty, stream api.DevicePlugin_ListAndWatchServer) error {
	for {
		p.mu.Lock()
		devices, news := p.devices, p.news
		p.mu.Unlock()
		if err := stream.Send(&api.ListAndWatchResponse{Devices: devices}); err != nil {
			return err
		}
		select {
		case <-news:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// GetPreferredAllocation implements the service.
func (p *Plugin) GetPreferredAllocation(_ context.Context, r *api.PreferredAllocationRequest) (*api.PreferredAllocationResponse, error) {
	out := &api.PreferredAllocationResponse{}
	for _, c := range r.GetContainerRequests() {
		p.note("GetPreferredAllocation", c.GetAvailableDeviceIDs())
		out.ContainerResponses = append(out.ContainerResponses, &api.ContainerPreferredAllocationResponse{
			DeviceIDs: p.Prefer(c.GetAvailableDeviceIDs(), c.GetMustIncludeDeviceIDs(), int(c.GetAllocationSize())),
		})
	}
	return out, nil
}

// Allocate implements the service.
func (p *Plugin) Allocate(_ context.Context, r *api.AllocateRequest) (*api.AllocateResponse, error) {
	out := &api.AllocateResponse{}
	for _, c := range r.GetContainerRequests() {
		p.note("Allocate", c.GetDevicesIds())
		if p.Answer == nil {
			return nil, fmt.Errorf("device plugin of %s gives nothing", p.Resource)
		}
		out.ContainerResponses = append(out.ContainerResponses, p.Answer(c.GetDevicesIds()))
	}
	return out, nil
}

// PreStartContainer implements the service.
func (p *Plugin) PreStartContainer(_ context.Context, r *api.PreStartContainerRequest) (*api.PreStartContainerResponse, error) {
	p.note("PreStartContainer", r.GetDevicesIds())
	return &api.PreStartContainerResponse{}, nil
}
