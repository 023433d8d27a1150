package cri

import (
	"context"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ReopenContainerLog makes a container write to a new file under its log path, after the old one was renamed.
func (r *Runtime) ReopenContainerLog(ctx context.Context, req *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	c, err := r.running(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	k := c.pod.keeper
	r.mu.Unlock()
	if k != nil {
		err = k.Reopen(ctx, c.id)
	}
	if err != nil {
		return nil, fmt.Errorf("reopen log of container %s: %w", c.id, err)
	}
	return &runtimeapi.ReopenContainerLogResponse{}, nil
}
