package cri

import (
	"context"
	"errors"
	"fmt"
	"os"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/keeper"
)

// RemoveContainer removes a container, by force if it runs. Removing what does not exist is no error.
func (r *Runtime) RemoveContainer(ctx context.Context, req *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	c, err := r.container(ctx, req.ContainerId)
	if err != nil {
		return &runtimeapi.RemoveContainerResponse{}, ignoreNotFound(err)
	}
	if err := r.removeContainer(ctx, c); err != nil {
		return nil, fmt.Errorf("remove container %s: %w", c.id, err)
	}
	return &runtimeapi.RemoveContainerResponse{}, nil
}

func (r *Runtime) removeContainer(ctx context.Context, c *ctr) error {
	if err := r.stopContainer(ctx, c, 0); err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	r.mu.Lock()
	if c.removed {
		r.mu.Unlock()
		return nil
	}
	if c.rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING { // started since
		r.mu.Unlock()
		return errors.New("it was started while it was being removed")
	}
	c.removed = true
	k := c.pod.keeper
	r.mu.Unlock()
	if err := r.unmake(ctx, c, k); err != nil {
		r.mu.Lock()
		c.removed = false // to be tried again
		r.mu.Unlock()
		return err
	}
	r.mu.Lock()
	delete(r.containers, c.id)
	delete(r.names, ctrName(c.pod.id, c.config.GetMetadata()))
	r.mu.Unlock()
	r.tell(c.pod, c.id, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	return nil
}

// unmake removes what a container that does not run has on the host.
func (r *Runtime) unmake(ctx context.Context, c *ctr, k *keeper.Keeper) error {
	if k != nil {
		if err := k.Forget(ctx, c.id); err != nil && !errors.Is(err, keeper.ErrGone) {
			return err
		}
	}
	if d, err := r.description(c); err == nil {
		if err := r.oci[c.pod.rec.Handler].Delete(ctx, d); err != nil {
			return err
		}
	}
	if err := r.group(c).Remove(); err != nil {
		return err
	}
	return r.dropContainer(ctx, c)
}

// dropContainer removes a container's root file systems and directory.
func (r *Runtime) dropContainer(ctx context.Context, c *ctr) error {
	for _, key := range append([]string{c.id}, c.rec.ImageKeys...) {
		if err := r.deps.Images.Release(ctx, key); err != nil {
			return err
		}
	}
	return os.RemoveAll(c.dir)
}
