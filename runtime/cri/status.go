package cri

import (
	"context"
	"maps"
	"slices"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// version is what the runtime says of itself. CRI wants a semantic version.
const version = "0.1.0"

// Version implements CRI.
func (r *Runtime) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: "proa", RuntimeVersion: version, RuntimeApiVersion: "v1"}, nil
}

// adoptPatience is how long Status waits for the first look at what runs.
const adoptPatience = 4 * time.Second

// Status implements CRI. Before Run has adopted what runs, the runtime is not ready.
func (r *Runtime) Status(ctx context.Context, _ *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	runtime := &runtimeapi.RuntimeCondition{Type: runtimeapi.RuntimeReady, Status: true}
	// Adopting takes milliseconds as a rule. A node that says for so long that it is not ready has its pods taken out of their services.
	wait, cancel := context.WithTimeout(ctx, adoptPatience)
	defer cancel()
	select {
	case <-r.adopted:
	case <-wait.Done():
		runtime.Status, runtime.Reason, runtime.Message = false, "Adopting", "looking for containers that run already"
	}
	network := &runtimeapi.RuntimeCondition{Type: runtimeapi.NetworkReady, Status: true}
	if n, ok := r.deps.Network.(interface{ Ready() error }); ok {
		if err := n.Ready(); err != nil {
			network.Status, network.Reason, network.Message = false, "NetworkPluginNotReady", err.Error()
		}
	}
	resp := &runtimeapi.StatusResponse{
		Status:   &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{runtime, network}},
		Features: &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
	}
	for _, handler := range slices.Sorted(maps.Keys(r.oci)) {
		resp.RuntimeHandlers = append(resp.RuntimeHandlers, &runtimeapi.RuntimeHandler{Name: handler,
			Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true, UserNamespaces: r.mapsUsers(handler)}})
	}
	return resp, nil
}

// UpdateRuntimeConfig implements CRI: the network's address range of this node, for networks that want to know.
func (r *Runtime) UpdateRuntimeConfig(ctx context.Context, req *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	cidr := req.GetRuntimeConfig().GetNetworkConfig().GetPodCidr()
	r.mu.Lock()
	r.podCIDR = cidr
	r.mu.Unlock()
	if n, ok := r.deps.Network.(interface {
		SetPodCIDR(ctx context.Context, cidr string) error
	}); ok && cidr != "" {
		if err := n.SetPodCIDR(ctx, cidr); err != nil {
			return nil, err
		}
	}
	return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
}

// RuntimeConfig implements CRI.
func (r *Runtime) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS}}, nil
}
