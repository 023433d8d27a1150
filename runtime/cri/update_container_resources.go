package cri

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/container"
)

// UpdateContainerResources changes what a container may use, while it runs or before. Zero leaves a limit as it is.
func (r *Runtime) UpdateContainerResources(ctx context.Context, req *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	c, err := r.container(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	r.mu.Lock()
	state, before := c.rec.State, c.resources()
	r.mu.Unlock()
	if state == runtimeapi.ContainerState_CONTAINER_EXITED {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s has exited", c.id)
	}
	change := req.GetLinux()
	if state == runtimeapi.ContainerState_CONTAINER_RUNNING {
		if err := r.group(c).Apply(container.Limits(change)); err != nil {
			return nil, fmt.Errorf("update container %s: %w", c.id, err)
		}
	}
	after := merge(before, change)
	data, err := proto.Marshal(after)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	c.updated, c.rec.Resources = after, data
	r.mu.Unlock()
	return &runtimeapi.UpdateContainerResourcesResponse{}, r.saveCtr(c)
}

// merge returns before with what change sets.
func merge(before, change *runtimeapi.LinuxContainerResources) *runtimeapi.LinuxContainerResources {
	after := &runtimeapi.LinuxContainerResources{}
	if before != nil {
		after = proto.Clone(before).(*runtimeapi.LinuxContainerResources)
	}
	proto.Merge(after, change) // sets what is not zero; maps are joined
	return after
}

// UpdatePodSandboxResources changes the limits of a pod as a whole, where the runtime made its cgroup; else the kubelet does.
func (r *Runtime) UpdatePodSandboxResources(ctx context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	p, err := r.pod(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	if p.rec.OwnCgroup {
		if err := r.tree.At(p.rec.Cgroup).Apply(container.Limits(req.GetResources())); err != nil {
			return nil, err
		}
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}
