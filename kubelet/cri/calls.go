package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The calls of a Conn, one to one.

// Version implements Runtime.
func (c *Conn) Version(ctx context.Context, r *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return c.c.Version(ctx, r)
}

// Status implements Runtime.
func (c *Conn) Status(ctx context.Context, r *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	return c.c.Status(ctx, r)
}

// UpdateRuntimeConfig implements Runtime.
func (c *Conn) UpdateRuntimeConfig(ctx context.Context, r *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	return c.c.UpdateRuntimeConfig(ctx, r)
}

// RunPodSandbox implements Runtime.
func (c *Conn) RunPodSandbox(ctx context.Context, r *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	return c.c.RunPodSandbox(ctx, r)
}

// StopPodSandbox implements Runtime.
func (c *Conn) StopPodSandbox(ctx context.Context, r *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	return c.c.StopPodSandbox(ctx, r)
}

// RemovePodSandbox implements Runtime.
func (c *Conn) RemovePodSandbox(ctx context.Context, r *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	return c.c.RemovePodSandbox(ctx, r)
}

// PodSandboxStatus implements Runtime.
func (c *Conn) PodSandboxStatus(ctx context.Context, r *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	return c.c.PodSandboxStatus(ctx, r)
}

// ListPodSandbox implements Runtime.
func (c *Conn) ListPodSandbox(ctx context.Context, r *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	return c.c.ListPodSandbox(ctx, r)
}

// CreateContainer implements Runtime.
func (c *Conn) CreateContainer(ctx context.Context, r *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	return c.c.CreateContainer(ctx, r)
}

// StartContainer implements Runtime.
func (c *Conn) StartContainer(ctx context.Context, r *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	return c.c.StartContainer(ctx, r)
}

// StopContainer implements Runtime.
func (c *Conn) StopContainer(ctx context.Context, r *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	return c.c.StopContainer(ctx, r)
}

// RemoveContainer implements Runtime.
func (c *Conn) RemoveContainer(ctx context.Context, r *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	return c.c.RemoveContainer(ctx, r)
}

// ListContainers implements Runtime.
func (c *Conn) ListContainers(ctx context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	return c.c.ListContainers(ctx, r)
}

// ContainerStatus implements Runtime.
func (c *Conn) ContainerStatus(ctx context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	return c.c.ContainerStatus(ctx, r)
}

// UpdateContainerResources implements Runtime.
func (c *Conn) UpdateContainerResources(ctx context.Context, r *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	return c.c.UpdateContainerResources(ctx, r)
}

// UpdatePodSandboxResources implements Runtime.
func (c *Conn) UpdatePodSandboxResources(ctx context.Context, r *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return c.c.UpdatePodSandboxResources(ctx, r)
}

// CheckpointContainer implements Runtime.
func (c *Conn) CheckpointContainer(ctx context.Context, r *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	return c.c.CheckpointContainer(ctx, r)
}

// ReopenContainerLog implements Runtime.
func (c *Conn) ReopenContainerLog(ctx context.Context, r *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	return c.c.ReopenContainerLog(ctx, r)
}

// ExecSync implements Runtime.
func (c *Conn) ExecSync(ctx context.Context, r *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	return c.c.ExecSync(ctx, r)
}

// Exec implements Runtime.
func (c *Conn) Exec(ctx context.Context, r *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return c.c.Exec(ctx, r)
}

// Attach implements Runtime.
func (c *Conn) Attach(ctx context.Context, r *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return c.c.Attach(ctx, r)
}

// PortForward implements Runtime.
func (c *Conn) PortForward(ctx context.Context, r *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return c.c.PortForward(ctx, r)
}

// ListContainerStats implements Runtime.
func (c *Conn) ListContainerStats(ctx context.Context, r *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	return c.c.ListContainerStats(ctx, r)
}

// ListPodSandboxStats implements Runtime.
func (c *Conn) ListPodSandboxStats(ctx context.Context, r *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	return c.c.ListPodSandboxStats(ctx, r)
}

func (i *images) ListImages(ctx context.Context, r *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return i.c.ListImages(ctx, r)
}

func (i *images) ImageStatus(ctx context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	return i.c.ImageStatus(ctx, r)
}

func (i *images) PullImage(ctx context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	return i.c.PullImage(ctx, r)
}

func (i *images) RemoveImage(ctx context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	return i.c.RemoveImage(ctx, r)
}

func (i *images) ImageFsInfo(ctx context.Context, r *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return i.c.ImageFsInfo(ctx, r)
}
