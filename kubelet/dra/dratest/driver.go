package dratest

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"google.golang.org/grpc"
	dra "k8s.io/kubelet/pkg/apis/dra/v1"
	beta "k8s.io/kubelet/pkg/apis/dra/v1beta1"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Driver serves one name. Its exported fields are set before Serve.
type Driver struct {
	dra.UnimplementedDRAPluginServer
	Name    string
	Service string // "v1.DRAPlugin"; the other is "v1beta1.DRAPlugin"
	// Devices are what a claim gets; an error is the driver's.
	Devices func(*dra.Claim) ([]*dra.Device, error)

	servers []*grpc.Server
	socket  string

	mu    sync.Mutex // guards calls
	calls []string
}

// Serve serves in dir and registers in registry, the folder where kubelets look for plugins.
func (d *Driver) Serve(dir, registry string) error {
	endpoint := filepath.Join(dir, d.Name+".sock")
	d.socket = filepath.Join(registry, d.Name+"-reg.sock")
	for _, path := range []string{dir, registry} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	for path, register := range map[string]func(*grpc.Server){
		endpoint: func(s *grpc.Server) {
			if d.Service == beta.DRAPluginService {
				beta.RegisterDRAPluginServer(s, beta.V1ServerWrapper{DRAPluginServer: d})
			} else {
				dra.RegisterDRAPluginServer(s, d)
			}
		},
		d.socket: func(s *grpc.Server) { registration.RegisterRegistrationServer(s, &registrar{d: d, endpoint: endpoint}) },
	} {
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		s := grpc.NewServer()
		register(s)
		d.servers = append(d.servers, s)
		go s.Serve(l) // ends with Stop
	}
	return nil
}

// Stop ends the driver and removes its sockets.
func (d *Driver) Stop() {
	for _, s := range d.servers {
		s.Stop()
	}
}

// Calls are the calls so far: "prepare default/c", "unprepare default/c".
func (d *Driver) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

func (d *Driver) note(what string, c *dra.Claim) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, what+" "+c.GetNamespace()+"/"+c.GetName())
}

// NodePrepareResources implements the service.
func (d *Driver) NodePrepareResources(_ context.Context, r *dra.NodePrepareResourcesRequest) (*dra.NodePrepareResourcesResponse, error) {
	out := &dra.NodePrepareResourcesResponse{Claims: map[string]*dra.NodePrepareResourceResponse{}}
	for _, c := range r.GetClaims() {
		d.note("prepare", c)
		one := &dra.NodePrepareResourceResponse{}
		devices, err := d.Devices(c)
		if err != nil {
			one.Error = err.Error()
		}
		one.Devices = devices
		out.Claims[c.GetUid()] = one
	}
	return out, nil
}

// NodeUnprepareResources implements the service.
func (d *Driver) NodeUnprepareResources(_ context.Context, r *dra.NodeUnprepareResourcesRequest) (*dra.NodeUnprepareResourcesResponse, error) {
	out := &dra.NodeUnprepareResourcesResponse{Claims: map[string]*dra.NodeUnprepareResourceResponse{}}
	for _, c := range r.GetClaims() {
		d.note("unprepare", c)
		out.Claims[c.GetUid()] = &dra.NodeUnprepareResourceResponse{}
	}
	return out, nil
}

type registrar struct {
	registration.UnimplementedRegistrationServer
	d        *Driver
	endpoint string
}

// GetInfo implements the service.
func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.DRAPlugin, Name: r.d.Name, Endpoint: r.endpoint, SupportedVersions: []string{r.d.Service}}, nil
}

// NotifyRegistrationStatus implements the service.
func (r *registrar) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !s.GetPluginRegistered() {
		return nil, errors.New(s.GetError())
	}
	return &registration.RegistrationStatusResponse{}, nil
}
