package cri

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RemovePodSandbox removes a pod with all its containers, by force if they run. Removing what does not exist is no error.
func (r *Runtime) RemovePodSandbox(ctx context.Context, req *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	p, err := r.pod(ctx, req.PodSandboxId)
	if err != nil {
		return &runtimeapi.RemovePodSandboxResponse{}, ignoreNotFound(err)
	}
	p.op.Lock()
	defer p.op.Unlock()
	r.mu.Lock()
	_, exists := r.pods[p.id]
	r.mu.Unlock()
	if !exists {
		return &runtimeapi.RemovePodSandboxResponse{}, nil
	}
	if err := r.stopPod(ctx, p); err != nil {
		return nil, fmt.Errorf("remove pod sandbox %s: %w", p.id, err)
	}
	for _, c := range r.containersOf(p) {
		if err := r.removeContainer(ctx, c); err != nil {
			return nil, fmt.Errorf("remove pod sandbox %s: %w", p.id, err)
		}
	}
	if err := r.destroyPod(ctx, p); err != nil {
		return nil, fmt.Errorf("remove pod sandbox %s: %w", p.id, err)
	}
	r.mu.Lock()
	delete(r.pods, p.id)
	delete(r.names, podName(p.config.GetMetadata()))
	r.mu.Unlock()
	r.tell(p, p.id, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

// containersOf lists the containers of a pod.
func (r *Runtime) containersOf(p *pod) []*ctr {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*ctr
	for _, c := range r.containers {
		if c.pod == p {
			all = append(all, c)
		}
	}
	return all
}

// ignoreNotFound drops the error of looking for something that shall not be there.
func ignoreNotFound(err error) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}
