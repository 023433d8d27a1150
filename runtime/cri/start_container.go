package cri

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/container"
	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/wire"
)

// startPatience bounds a start. Longer ones hang in a volume's file system.
const startPatience = 2 * time.Minute

// What a container says that could not be started, as with containerd.
const (
	startErrorCode   = 128
	startErrorReason = "StartError"
)

// StartContainer runs a created container. One that cannot be started is exited with reason StartError.
func (r *Runtime) StartContainer(ctx context.Context, req *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	c, err := r.container(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	r.mu.Lock()
	state, k, removed := c.rec.State, c.pod.keeper, c.removed
	r.mu.Unlock()
	if removed || state != runtimeapi.ContainerState_CONTAINER_CREATED {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s is %s, not created", c.id, state)
	}
	if k == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "pod sandbox %s is not ready", c.pod.id)
	}
	// It takes milliseconds, and half of it would be hard to take back: a caller that gives up does not end it.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), startPatience)
	defer cancel()
	if err := r.startContainer(work, c, k); err != nil {
		r.failStart(c, k, err)
		return nil, err
	}
	return &runtimeapi.StartContainerResponse{}, nil
}

func (r *Runtime) startContainer(ctx context.Context, c *ctr, k *keeper.Keeper) error {
	d, err := r.description(c)
	if err != nil {
		return err
	}
	if _, err := r.tree.Create(d.Cgroup.Path()); err != nil {
		return err
	}
	r.mu.Lock()
	limits := container.Limits(c.resources())
	r.mu.Unlock()
	if err := d.Cgroup.Apply(limits); err != nil {
		return err
	}
	if err := d.Cgroup.LimitDevices(container.DeviceRules(d.Spec)); err != nil {
		return err
	}
	rt := r.oci[c.pod.rec.Handler]
	who, err := rt.Create(ctx, k, d)
	if err != nil {
		return fmt.Errorf("unable to start container process: %w", err)
	}
	state, err := rt.Start(ctx, k, d)
	if err != nil {
		return fmt.Errorf("unable to start container process: %w", err)
	}
	r.mu.Lock()
	// The keeper's word about the end may have come before this one about the start.
	if c.rec.State == runtimeapi.ContainerState_CONTAINER_CREATED {
		c.rec.State = runtimeapi.ContainerState_CONTAINER_RUNNING
	}
	c.rec.StartedAt, c.rec.User = state.StartedAt, who
	r.mu.Unlock()
	if err := r.saveCtr(c); err != nil {
		return err
	}
	r.tell(c.pod, c.id, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return nil
}

// failStart records why a container never ran.
func (r *Runtime) failStart(c *ctr, k *keeper.Keeper, why error) {
	if errors.Is(why, context.DeadlineExceeded) {
		// The keeper may still be at it: what comes of that is ended as soon as it can be.
		r.background(startPatience, func(ctx context.Context) {
			for ctx.Err() == nil {
				err := k.Signal(ctx, wire.Signal{ID: c.id, Signal: int64(unix.SIGKILL), All: true})
				if err != nil {
					return // it knows no such container any more, or is gone itself
				}
				time.Sleep(time.Second)
			}
		})
	}
	now := time.Now().UnixNano()
	r.exited(c, wire.State{Phase: wire.PhaseExited, StartedAt: now, FinishedAt: now, ExitCode: startErrorCode}, startErrorReason, why.Error())
}

// exited records the end of a container once, and tells. reason and message are empty for a container that ran.
func (r *Runtime) exited(c *ctr, s wire.State, reason, message string) {
	r.mu.Lock()
	if c.removed || c.rec.State == runtimeapi.ContainerState_CONTAINER_EXITED {
		r.mu.Unlock()
		return
	}
	c.rec.State = runtimeapi.ContainerState_CONTAINER_EXITED
	if s.StartedAt != 0 {
		c.rec.StartedAt = s.StartedAt
	}
	c.rec.FinishedAt, c.rec.ExitCode = s.FinishedAt, int32(s.ExitCode)
	c.rec.Reason, c.rec.Message = reason, message
	if reason == "" {
		switch {
		case s.OOMKilled:
			c.rec.Reason = "OOMKilled"
		case s.ExitCode == 0:
			c.rec.Reason = "Completed"
		default:
			c.rec.Reason = "Error"
		}
	}
	close(c.ended)
	r.mu.Unlock()
	if err := r.saveCtr(c); err != nil {
		r.log.Error("record the end of a container", "container", c.id, "err", err)
	}
	r.tell(c.pod, c.id, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	r.background(30*time.Second, func(ctx context.Context) {
		g := r.group(c)
		if err := errors.Join(g.Kill(), g.Remove()); err != nil {
			r.log.Error("remove the cgroup of a container", "container", c.id, "err", err)
		}
	})
}
