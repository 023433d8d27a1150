package cri

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/cgroup"
	"proa.dev/runtime/sandbox"
	"proa.dev/runtime/snapshot"
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
	return &runtimeapi.ContainerStatsResponse{Stats: r.stats(ctx, c)}, nil
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
		resp.Stats = append(resp.Stats, r.stats(ctx, c))
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
func (r *Runtime) stats(ctx context.Context, c *ctr) *runtimeapi.ContainerStats {
	s, now := r.group(c).Stats(), time.Now().UnixNano()
	return &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{Id: c.id, Metadata: c.config.Metadata, Labels: c.config.Labels, Annotations: c.config.Annotations},
		Cpu:        cpuUsage(s, now), Memory: memoryUsage(s, now), WritableLayer: r.written(ctx, c), Io: ioUsage(s, now),
		Swap: swapUsage(s, now),
	}
}

// layerSize is what a container had written to its layer.
type layerSize struct {
	at    time.Time
	usage snapshot.Usage
}

// sizeFor is how long a layerSize is good for: measuring walks the layer.
const sizeFor = 30 * time.Second

// written measures the container's layer, if that has not been done lately.
func (r *Runtime) written(ctx context.Context, c *ctr) *runtimeapi.FilesystemUsage {
	r.mu.Lock()
	size, upper := c.size, c.rec.Root.Upper
	r.mu.Unlock()
	if now := time.Now(); now.Sub(size.at) >= sizeFor {
		usage, err := r.deps.Images.SnapshotUsage(ctx, c.id)
		if err != nil {
			return &runtimeapi.FilesystemUsage{Timestamp: now.UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: upper}}
		}
		size = layerSize{now, usage}
		r.mu.Lock()
		c.size = size
		r.mu.Unlock()
	}
	return &runtimeapi.FilesystemUsage{Timestamp: size.at.UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: upper},
		UsedBytes: value(uint64(size.usage.Bytes)), InodesUsed: value(uint64(size.usage.Inodes))}
}

func value(v uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: v} }

func cpuUsage(s cgroup.Stats, now int64) *runtimeapi.CpuUsage {
	return &runtimeapi.CpuUsage{Timestamp: now, UsageCoreNanoSeconds: value(uint64(s.CPU)), Psi: psi(s.CPUPressure)}
}

func ioUsage(s cgroup.Stats, now int64) *runtimeapi.IoUsage {
	if s.IOPressure == nil {
		return nil
	}
	return &runtimeapi.IoUsage{Timestamp: now, Psi: psi(s.IOPressure)}
}

func swapUsage(s cgroup.Stats, now int64) *runtimeapi.SwapUsage {
	u := &runtimeapi.SwapUsage{Timestamp: now, SwapUsageBytes: value(s.Swap)}
	if s.SwapLeft != nil {
		u.SwapAvailableBytes = value(*s.SwapLeft)
	}
	return u
}

func psi(p *cgroup.Pressure) *runtimeapi.PsiStats {
	if p == nil {
		return nil
	}
	one := func(s cgroup.Stall) *runtimeapi.PsiData {
		return &runtimeapi.PsiData{Total: s.Total, Avg10: s.Avg10, Avg60: s.Avg60, Avg300: s.Avg300}
	}
	return &runtimeapi.PsiStats{Some: one(p.Some), Full: one(p.Full)}
}

// network counts what the links of a pod have carried; nil for one on the host's network.
func (r *Runtime) network(p *pod) *runtimeapi.NetworkUsage {
	if sandbox.HostNetwork(p.config) {
		return nil
	}
	var table []byte
	err := within(p.paths.NetNS, func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		r.log.Debug("read the links of a pod", "pod", p.id, "err", err)
		return nil
	}
	out := &runtimeapi.NetworkUsage{Timestamp: time.Now().UnixNano()}
	for line := range strings.Lines(string(table)) {
		name, figures, ok := strings.Cut(line, ":")
		f := strings.Fields(figures)
		if name = strings.TrimSpace(name); !ok || len(f) < 16 || name == "lo" {
			continue
		}
		n := func(i int) *runtimeapi.UInt64Value {
			v, err := strconv.ParseUint(f[i], 10, 64)
			if err != nil {
				return nil
			}
			return value(v)
		}
		i := &runtimeapi.NetworkInterfaceUsage{Name: name, RxBytes: n(0), RxErrors: n(2), TxBytes: n(8), TxErrors: n(10)}
		out.Interfaces = append(out.Interfaces, i)
		if name == "eth0" || out.DefaultInterface == nil {
			out.DefaultInterface = i
		}
	}
	return out
}

func memoryUsage(s cgroup.Stats, now int64) *runtimeapi.MemoryUsage {
	m := &runtimeapi.MemoryUsage{Timestamp: now, WorkingSetBytes: value(s.WorkingSet), UsageBytes: value(s.Memory), RssBytes: value(s.RSS),
		PageFaults: value(s.PageFaults), MajorPageFaults: value(s.MajorFault), Psi: psi(s.MemoryPressure)}
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
	return &runtimeapi.PodSandboxStatsResponse{Stats: r.podStats(ctx, p)}, nil
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
		resp.Stats = append(resp.Stats, r.podStats(ctx, p))
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
func (r *Runtime) podStats(ctx context.Context, p *pod) *runtimeapi.PodSandboxStats {
	g := r.tree.At(p.rec.Cgroup)
	s, now := g.Stats(), time.Now().UnixNano()
	out := &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{Id: p.id, Metadata: p.config.Metadata, Labels: p.config.Labels, Annotations: p.config.Annotations},
		Linux: &runtimeapi.LinuxPodSandboxStats{Cpu: cpuUsage(s, now), Memory: memoryUsage(s, now), Network: r.network(p), Io: ioUsage(s, now),
			Process: &runtimeapi.ProcessUsage{Timestamp: now, ProcessCount: &runtimeapi.UInt64Value{Value: s.Pids}}},
	}
	for _, c := range r.containersOf(p) {
		r.mu.Lock()
		running := c.rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING
		r.mu.Unlock()
		if running {
			out.Linux.Containers = append(out.Linux.Containers, r.stats(ctx, c))
		}
	}
	return out
}
