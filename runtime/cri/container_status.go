package cri

import (
	"context"
	"encoding/json"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerStatus implements CRI.
func (r *Runtime) ContainerStatus(ctx context.Context, req *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := r.container(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	resp := &runtimeapi.ContainerStatusResponse{Status: r.status(c)}
	if req.Verbose {
		text, err := json.Marshal(map[string]any{"sandboxID": c.pod.id, "pid": c.rec.User.PID, "root": c.rec.Root,
			"cgroup": r.group(c).Path()})
		if err != nil {
			return nil, err
		}
		resp.Info = map[string]string{"info": string(text)}
	}
	return resp, nil
}

// status describes a container. The caller holds r.mu.
func (r *Runtime) status(c *ctr) *runtimeapi.ContainerStatus {
	s := &runtimeapi.ContainerStatus{
		Id: c.id, Metadata: c.config.Metadata, State: c.rec.State, CreatedAt: c.rec.CreatedAt,
		Image: r.imageSpec(c), ImageRef: c.rec.ImageID, ImageId: c.rec.ImageID,
		Labels: c.config.Labels, Annotations: c.config.Annotations, Mounts: c.config.Mounts, LogPath: c.rec.LogPath,
		Resources:  &runtimeapi.ContainerResources{Linux: c.resources()},
		StopSignal: c.config.StopSignal,
	}
	if c.rec.State != runtimeapi.ContainerState_CONTAINER_CREATED {
		s.StartedAt = c.rec.StartedAt
	}
	if c.rec.State == runtimeapi.ContainerState_CONTAINER_EXITED {
		s.FinishedAt, s.ExitCode, s.Reason, s.Message = c.rec.FinishedAt, c.rec.ExitCode, c.rec.Reason, c.rec.Message
	}
	if c.rec.User.PID != 0 {
		user := &runtimeapi.LinuxContainerUser{Uid: int64(c.rec.User.UID), Gid: int64(c.rec.User.GID)}
		for _, g := range c.rec.User.Groups {
			user.SupplementalGroups = append(user.SupplementalGroups, int64(g))
		}
		s.User = &runtimeapi.ContainerUser{Linux: user}
	}
	return s
}

// imageSpec is the image as the kubelet named it.
func (r *Runtime) imageSpec(c *ctr) *runtimeapi.ImageSpec {
	spec := c.config.GetImage()
	if name := spec.GetUserSpecifiedImage(); name != "" {
		return &runtimeapi.ImageSpec{Image: name, Annotations: spec.Annotations, UserSpecifiedImage: name}
	}
	return spec
}

// ListContainers implements CRI.
func (r *Runtime) ListContainers(ctx context.Context, req *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	f := req.GetFilter()
	resp := &runtimeapi.ListContainersResponse{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		if !strings.HasPrefix(c.id, f.GetId()) || !strings.HasPrefix(c.pod.id, f.GetPodSandboxId()) ||
			!selects(f.GetLabelSelector(), c.config.Labels) || f.GetState() != nil && f.State.State != c.rec.State {
			continue
		}
		resp.Containers = append(resp.Containers, &runtimeapi.Container{Id: c.id, PodSandboxId: c.pod.id, Metadata: c.config.Metadata,
			Image: r.imageSpec(c), ImageRef: c.rec.ImageID, ImageId: c.rec.ImageID, State: c.rec.State, CreatedAt: c.rec.CreatedAt,
			Labels: c.config.Labels, Annotations: c.config.Annotations})
	}
	return resp, nil
}

// StreamContainers implements CRI: ListContainers for answers larger than a message may be.
func (r *Runtime) StreamContainers(req *runtimeapi.StreamContainersRequest, stream runtimeapi.RuntimeService_StreamContainersServer) error {
	resp, err := r.ListContainers(stream.Context(), &runtimeapi.ListContainersRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return chunked(resp.Containers, func(items []*runtimeapi.Container) error {
		return stream.Send(&runtimeapi.StreamContainersResponse{Containers: items})
	})
}
