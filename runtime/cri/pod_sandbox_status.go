package cri

import (
	"context"
	"encoding/json"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodSandboxStatus implements CRI.
func (r *Runtime) PodSandboxStatus(ctx context.Context, req *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	p, err := r.pod(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	resp := &runtimeapi.PodSandboxStatusResponse{Status: r.podStatus(p)}
	if req.Verbose {
		info := map[string]any{"netns": p.paths.NetNS, "keeper": p.paths.Keeper, "cgroup": p.rec.Cgroup, "phase": p.rec.Phase}
		if p.keeper != nil {
			info["pid"] = p.keeper.PID
		}
		text, err := json.Marshal(info)
		if err != nil {
			return nil, err
		}
		resp.Info = map[string]string{"info": string(text)}
	}
	return resp, nil
}

// podStatus describes a pod. The caller holds r.mu.
func (r *Runtime) podStatus(p *pod) *runtimeapi.PodSandboxStatus {
	s := &runtimeapi.PodSandboxStatus{
		Id: p.id, Metadata: p.config.Metadata, State: p.state(), CreatedAt: p.rec.CreatedAt,
		Network:        &runtimeapi.PodSandboxNetworkStatus{},
		Linux:          &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: p.config.GetLinux().GetSecurityContext().GetNamespaceOptions()}},
		Labels:         p.config.Labels,
		Annotations:    p.config.Annotations,
		RuntimeHandler: p.rec.Handler,
	}
	for i, ip := range p.rec.IPs {
		if i == 0 {
			s.Network.Ip = ip.String()
		} else {
			s.Network.AdditionalIps = append(s.Network.AdditionalIps, &runtimeapi.PodIP{Ip: ip.String()})
		}
	}
	return s
}

// state is that of a pod in CRI's words. The caller holds the runtime's lock.
func (p *pod) state() runtimeapi.PodSandboxState {
	if p.rec.Phase == phaseReady && p.keeper != nil {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}
