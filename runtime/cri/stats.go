package cri

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/cgroup"
)

// ContainerStats implements CRI.
func (r *Runtime) ContainerStats(ctx context.Context, req *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	c, err := r.container(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	running := c.rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING
	r.mu.Unlock()
	if !running {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s is not running", c.id)
	}
	return &runtimeapi.ContainerStatsResponse{Stats: r.stats(c)}, nil
}

// ListContainerStats implements CRI. Containers that do not run have no figures.
func (r *Runtime) ListContainerStats(ctx context.Context, req *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	f := req.GetFilter()
	var chosen []*ctr
	r.mu.Lock()
	for _, c := range r.containers {
		if c.rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING && strings.HasPrefix(c.id, f.GetId()) &&
			strings.HasPrefix(c.pod.id, f.GetPodSandboxId()) && selects(f.GetLabelSelector(), c.config.Labels) {
			chosen = append(chosen, c)
		}
	}
	r.mu.Unlock()
	resp := &runtimeapi.ListContainerStatsResponse{}
	for _, c := range chosen {
		resp.Stats = append(resp.Stats, r.stats(c))
	}
	return resp, nil
}

// StreamContainerStats implements CRI: ListContainerStats for answers larger than a message may be.
func (r *Runtime) StreamContainerStats(req *runtimeapi.StreamContainerStatsRequest, stream runtimeapi.RuntimeService_StreamContainerStatsServer) error {
	resp, err := r.ListContainerStats(stream.Context(), &runtimeapi.ListContainerStatsRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return chunked(resp.Stats, func(items []*runtimeapi.ContainerStats) error {
		return stream.Send(&runtimeapi.StreamContainerStatsResponse{ContainerStats: items})
	})
}

// stats reads the figures of a container.
func (r *Runtime) stats(c *ctr) *runtimeapi.ContainerStats {
	s, now := r.group(c).Stats(), time.Now().UnixNano()
	return &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{Id: c.id, Metadata: c.config.Metadata, Labels: c.config.Labels, Annotations: c.config.Annotations},
		Cpu:        cpuUsage(s, now), Memory: memoryUsage(s, now),
		WritableLayer: &runtimeapi.FilesystemUsage{Timestamp: now, FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: c.rec.Root.Upper}},
	}
}

func cpuUsage(s cgroup.Stats, now int64) *runtimeapi.CpuUsage {
	return &runtimeapi.CpuUsage{Timestamp: now, UsageCoreNanoSeconds: &runtimeapi.UInt64Value{Value: uint64(s.CPU)}}
}

func memoryUsage(s cgroup.Stats, now int64) *runtimeapi.MemoryUsage {
	value := func(v uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: v} }
	m := &runtimeapi.MemoryUsage{Timestamp: now, WorkingSetBytes: value(s.WorkingSet), UsageBytes: value(s.Memory), RssBytes: value(s.RSS),
		PageFaults: value(s.PageFaults), MajorPageFaults: value(s.MajorFault)}
	if s.Limit > s.WorkingSet {
		m.AvailableBytes = value(s.Limit - s.WorkingSet)
	}
	return m
}

// PodSandboxStats implements CRI.
func (r *Runtime) PodSandboxStats(ctx context.Context, req *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	p, err := r.pod(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.PodSandboxStatsResponse{Stats: r.podStats(p)}, nil
}

// ListPodSandboxStats implements CRI.
func (r *Runtime) ListPodSandboxStats(ctx context.Context, req *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	f := req.GetFilter()
	var chosen []*pod
	r.mu.Lock()
	for _, p := range r.pods {
		if p.state() == runtimeapi.PodSandboxState_SANDBOX_READY && strings.HasPrefix(p.id, f.GetId()) && selects(f.GetLabelSelector(), p.config.Labels) {
			chosen = append(chosen, p)
		}
	}
	r.mu.Unlock()
	resp := &runtimeapi.ListPodSandboxStatsResponse{}
	for _, p := range chosen {
		resp.Stats = append(resp.Stats, r.podStats(p))
	}
	return resp, nil
}

// StreamPodSandboxStats implements CRI: ListPodSandboxStats for answers larger than a message may be.
func (r *Runtime) StreamPodSandboxStats(req *runtimeapi.StreamPodSandboxStatsRequest, stream runtimeapi.RuntimeService_StreamPodSandboxStatsServer) error {
	resp, err := r.ListPodSandboxStats(stream.Context(), &runtimeapi.ListPodSandboxStatsRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return chunked(resp.Stats, func(items []*runtimeapi.PodSandboxStats) error {
		return stream.Send(&runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: items})
	})
}

// podStats reads the figures of a pod: those of its cgroup, the processes in it, and its containers.
func (r *Runtime) podStats(p *pod) *runtimeapi.PodSandboxStats {
	g := r.tree.At(p.rec.Cgroup)
	s, now := g.Stats(), time.Now().UnixNano()
	out := &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{Id: p.id, Metadata: p.config.Metadata, Labels: p.config.Labels, Annotations: p.config.Annotations},
		Linux: &runtimeapi.LinuxPodSandboxStats{Cpu: cpuUsage(s, now), Memory: memoryUsage(s, now),
			Process: &runtimeapi.ProcessUsage{Timestamp: now, ProcessCount: &runtimeapi.UInt64Value{Value: s.Pids}}},
	}
	for _, c := range r.containersOf(p) {
		r.mu.Lock()
		running := c.rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING
		r.mu.Unlock()
		if running {
			out.Linux.Containers = append(out.Linux.Containers, r.stats(c))
		}
	}
	return out
}
