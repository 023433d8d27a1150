package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/sandbox"
)

// StopPodSandbox ends everything in a pod and gives its network back. Stopping twice, or what does not exist, is no error.
func (r *Runtime) StopPodSandbox(ctx context.Context, req *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	p, err := r.pod(ctx, req.PodSandboxId)
	if err != nil {
		return &runtimeapi.StopPodSandboxResponse{}, ignoreNotFound(err)
	}
	p.op.Lock()
	defer p.op.Unlock()
	if err := r.stopPod(ctx, p); err != nil {
		return nil, fmt.Errorf("stop pod sandbox %s: %w", p.id, err)
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

// stopPod is StopPodSandbox under the pod's op lock.
func (r *Runtime) stopPod(ctx context.Context, p *pod) error {
	r.mu.Lock()
	done := p.rec.Phase == phaseStopped
	var all []*ctr
	for _, c := range r.containers {
		if c.pod == p {
			all = append(all, c)
		}
	}
	r.mu.Unlock()
	if done {
		return nil
	}
	for _, c := range all {
		if err := r.stopContainer(ctx, c, 0); err != nil {
			return err
		}
	}
	if err := r.releasePod(ctx, p); err != nil {
		return err
	}
	r.mu.Lock()
	p.rec.Phase, p.keeper = phaseStopped, nil
	r.mu.Unlock()
	if err := r.savePod(p); err != nil {
		return err
	}
	r.tell(p, p.id, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	return nil
}

// releasePod gives back what a pod holds on the host. It goes on after errors, and may be repeated.
func (r *Runtime) releasePod(ctx context.Context, p *pod) error {
	var errs []error
	if !sandbox.HostNetwork(p.config) {
		if err := r.deps.Network.Detach(ctx, networkPod(p)); err != nil {
			errs = append(errs, fmt.Errorf("network: %w", err))
		}
	}
	r.mu.Lock()
	k := p.keeper
	p.ending = true
	r.mu.Unlock()
	if k != nil {
		stop, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := k.Stop(stop); err != nil {
			errs = append(errs, err)
		}
	}
	if err := p.paths.CleanMounts(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// destroyPod removes every trace of a pod that has no containers.
func (r *Runtime) destroyPod(ctx context.Context, p *pod) error {
	err := r.releasePod(ctx, p)
	if p.rec.OwnCgroup {
		err = errors.Join(err, r.tree.At(p.rec.Cgroup).Remove())
	}
	return errors.Join(err, os.RemoveAll(p.paths.Keeper), os.RemoveAll(p.paths.Dir))
}
