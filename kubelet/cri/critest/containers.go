package critest

import (
	"context"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func clone[M proto.Message](m M) M { return proto.Clone(m).(M) }

// CreateContainer implements cri.Runtime.
func (r *Runtime) CreateContainer(_ context.Context, q *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	if err := r.enter("CreateContainer", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[q.PodSandboxId]
	if s == nil || s.status.State != runtimeapi.PodSandboxState_SANDBOX_READY {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox %q is not ready", q.PodSandboxId)
	}
	for _, c := range r.containers {
		if m := c.Config.Metadata; c.box == q.PodSandboxId && m.Name == q.Config.Metadata.Name && m.Attempt == q.Config.Metadata.Attempt {
			return nil, status.Errorf(codes.AlreadyExists, "container %s attempt %d exists", m.Name, m.Attempt)
		}
	}
	for _, m := range q.Config.Mounts {
		if _, err := os.Lstat(m.HostPath); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "mount %s: %v", m.ContainerPath, err)
		}
	}
	id := r.id("c")
	r.containers[id] = &Container{
		Config: q.Config, ID: id, box: q.PodSandboxId, ended: make(chan struct{}), log: logPath(s, q.Config),
		status: &runtimeapi.ContainerStatus{
			Id: id, Metadata: q.Config.Metadata, State: runtimeapi.ContainerState_CONTAINER_CREATED, CreatedAt: time.Now().UnixNano(),
			Image: q.Config.Image, ImageRef: q.Config.Image.Image, Labels: q.Config.Labels, Annotations: q.Config.Annotations,
			Mounts: q.Config.Mounts, LogPath: logPath(s, q.Config),
			Resources: &runtimeapi.ContainerResources{Linux: q.Config.Linux.GetResources()},
		},
	}
	r.tell(id, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, nil
}

func (r *Runtime) get(id string) (*Container, error) {
	c := r.containers[id]
	if c == nil {
		return nil, status.Errorf(codes.NotFound, "container %q not found", id)
	}
	return c, nil
}

// StartContainer implements cri.Runtime.
func (r *Runtime) StartContainer(_ context.Context, q *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	if err := r.enter("StartContainer", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.get(q.ContainerId)
	if err != nil {
		return nil, err
	}
	if c.status.State != runtimeapi.ContainerState_CONTAINER_CREATED {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is %v", c.ID, c.status.State)
	}
	if f, err := os.Create(c.log); err != nil {
		return nil, status.Errorf(codes.Internal, "open the log: %v", err)
	} else if err := f.Close(); err != nil {
		return nil, err
	}
	c.status.State, c.status.StartedAt = runtimeapi.ContainerState_CONTAINER_RUNNING, time.Now().UnixNano()
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	program := r.Programs[c.Config.Image.UserSpecifiedImage]
	if program == nil {
		program = func(ctx context.Context, _ *Container) int32 {
			<-ctx.Done()
			return 0
		}
	}
	go func() { // waited for through c.ended
		code := program(ctx, c)
		stop()
		r.mu.Lock()
		defer r.mu.Unlock()
		c.status.State, c.status.FinishedAt, c.status.ExitCode = runtimeapi.ContainerState_CONTAINER_EXITED, time.Now().UnixNano(), code
		c.status.Reason = "Completed"
		if code != 0 {
			c.status.Reason = "Error"
		}
		close(c.ended)
		r.tell(c.ID, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	}()
	r.tell(c.ID, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return &runtimeapi.StartContainerResponse{}, nil
}

// halt stops a container: a program that does not end by itself is left behind after the timeout, as if killed.
func (r *Runtime) halt(ctx context.Context, c *Container, timeout int64) error {
	r.mu.Lock()
	if c.status.State == runtimeapi.ContainerState_CONTAINER_CREATED {
		c.status.State = runtimeapi.ContainerState_CONTAINER_EXITED
		close(c.ended)
	}
	stop := c.stop
	r.mu.Unlock()
	if stop == nil {
		return nil
	}
	stop()
	t := time.NewTimer(time.Duration(timeout+1) * time.Second)
	defer t.Stop()
	select {
	case <-c.ended:
	case <-t.C:
		return status.Errorf(codes.DeadlineExceeded, "container %s does not end", c.ID)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// StopContainer implements cri.Runtime.
func (r *Runtime) StopContainer(ctx context.Context, q *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	if err := r.enter("StopContainer", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	c, err := r.get(q.ContainerId)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return &runtimeapi.StopContainerResponse{}, r.halt(ctx, c, q.Timeout)
}

// RemoveContainer implements cri.Runtime.
func (r *Runtime) RemoveContainer(ctx context.Context, q *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	if err := r.enter("RemoveContainer", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	c := r.containers[q.ContainerId]
	r.mu.Unlock()
	if c == nil {
		return &runtimeapi.RemoveContainerResponse{}, nil
	}
	if err := r.halt(ctx, c, 0); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, q.ContainerId)
	r.tell(q.ContainerId, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	return &runtimeapi.RemoveContainerResponse{}, nil
}

// ListContainers implements cri.Runtime.
func (r *Runtime) ListContainers(_ context.Context, q *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	if err := r.enter("ListContainers", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &runtimeapi.ListContainersResponse{}
	for _, c := range r.containers {
		out.Containers = append(out.Containers, &runtimeapi.Container{
			Id: c.ID, PodSandboxId: c.box, Metadata: c.Config.Metadata, State: c.status.State, Labels: c.Config.Labels,
			Annotations: c.Config.Annotations, CreatedAt: c.status.CreatedAt, ImageRef: c.status.ImageRef,
		})
	}
	return out, nil
}

// ContainerStatus implements cri.Runtime.
func (r *Runtime) ContainerStatus(_ context.Context, q *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	if err := r.enter("ContainerStatus", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.get(q.ContainerId)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ContainerStatusResponse{Status: clone(c.status)}, nil
}

// UpdateContainerResources implements cri.Runtime.
func (r *Runtime) UpdateContainerResources(_ context.Context, q *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	if err := r.enter("UpdateContainerResources", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.get(q.ContainerId)
	if err != nil {
		return nil, err
	}
	c.status.Resources = &runtimeapi.ContainerResources{Linux: q.Linux}
	return &runtimeapi.UpdateContainerResourcesResponse{}, nil
}

// UpdatePodSandboxResources implements cri.Runtime.
func (r *Runtime) UpdatePodSandboxResources(_ context.Context, q *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, r.enter("UpdatePodSandboxResources", q)
}

// CheckpointContainer implements cri.Runtime: the file says which container it is.
func (r *Runtime) CheckpointContainer(_ context.Context, q *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	if err := r.enter("CheckpointContainer", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.get(q.ContainerId); err != nil {
		return nil, err
	}
	return &runtimeapi.CheckpointContainerResponse{}, os.WriteFile(q.Location, []byte(q.ContainerId), 0o600)
}

// ReopenContainerLog implements cri.Runtime.
func (r *Runtime) ReopenContainerLog(_ context.Context, q *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	if err := r.enter("ReopenContainerLog", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.get(q.ContainerId)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ReopenContainerLogResponse{}, f.Close()
}

// ExecSync implements cri.Runtime.
func (r *Runtime) ExecSync(_ context.Context, q *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	if err := r.enter("ExecSync", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	c, err := r.get(q.ContainerId)
	running := err == nil && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if !running {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is not running", q.ContainerId)
	}
	if r.OnExec == nil {
		return &runtimeapi.ExecSyncResponse{}, nil
	}
	out, code := r.OnExec(c, q.Cmd)
	return &runtimeapi.ExecSyncResponse{Stdout: []byte(out), ExitCode: code}, nil
}

func unimplemented(call string) error {
	return status.Errorf(codes.Unimplemented, "%s needs a real runtime", call)
}

// Exec implements cri.Runtime.
func (r *Runtime) Exec(context.Context, *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return nil, unimplemented("Exec")
}

// Attach implements cri.Runtime.
func (r *Runtime) Attach(context.Context, *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return nil, unimplemented("Attach")
}

// PortForward implements cri.Runtime.
func (r *Runtime) PortForward(context.Context, *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return nil, unimplemented("PortForward")
}

// ListContainerStats implements cri.Runtime.
func (r *Runtime) ListContainerStats(context.Context, *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	return &runtimeapi.ListContainerStatsResponse{}, nil
}

// ListPodSandboxStats implements cri.Runtime.
func (r *Runtime) ListPodSandboxStats(context.Context, *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	return &runtimeapi.ListPodSandboxStatsResponse{}, nil
}

// ListImages implements cri.Images.
func (r *Runtime) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &runtimeapi.ListImagesResponse{}
	for name := range r.Programs {
		out.Images = append(out.Images, &runtimeapi.Image{Id: "sha256:" + name, RepoTags: []string{name}, Size: 1})
	}
	return out, nil
}

// ImageStatus implements cri.Images.
func (r *Runtime) ImageStatus(_ context.Context, q *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	if err := r.enter("ImageStatus", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.Programs[q.Image.Image]; !ok {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{Id: "sha256:" + q.Image.Image, Spec: q.Image, Size: 1}}, nil
}

// PullImage implements cri.Images.
func (r *Runtime) PullImage(_ context.Context, q *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	if err := r.enter("PullImage", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.Programs[q.Image.Image]; !ok {
		return nil, status.Errorf(codes.NotFound, "%s: not found", q.Image.Image)
	}
	return &runtimeapi.PullImageResponse{ImageRef: "sha256:" + q.Image.Image}, nil
}

// RemoveImage implements cri.Images.
func (r *Runtime) RemoveImage(_ context.Context, q *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.Programs, q.Image.Image)
	return &runtimeapi.RemoveImageResponse{}, nil
}

// ImageFsInfo implements cri.Images.
func (r *Runtime) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{}, nil
}
