package cri

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/prom"
)

// Calls counts and times what is asked of a runtime, for the kubelet's metrics. The zero value is ready.
type Calls struct {
	ops   prom.Vec[string, call]             // by Kubernetes' name of the operation
	boxes prom.Vec[string, call]             // run_podsandbox, by the handler
	users struct{ all, failed atomic.Int64 } // those with a user namespace of their own
}

type call struct {
	all, failed atomic.Int64
	took        *prom.Histogram
}

// scale is 5 ms, and 2.5 times as much 13 times.
func scale() *prom.Scale {
	bounds := []float64{0.005}
	for len(bounds) < 14 {
		bounds = append(bounds, bounds[len(bounds)-1]*2.5)
	}
	return prom.Seconds(bounds...)
}

func (c *call) add(began time.Time, err error) {
	c.all.Add(1)
	if err != nil {
		c.failed.Add(1)
	}
	c.took.Add(int64(time.Since(began)))
}

// ask makes one call and counts it.
func ask[Q, A any](k *Calls, op string, fn func(context.Context, Q) (A, error)) func(context.Context, Q) (A, error) {
	return func(ctx context.Context, q Q) (A, error) {
		began := time.Now()
		a, err := fn(ctx, q)
		k.ops.Get(op, func() *call { return &call{took: scale().New()} }).add(began, err)
		return a, err
	}
}

// Page writes what was counted.
func (k *Calls) Page(p *prom.Page) {
	each := func(v *prom.Vec[string, call], label string, fn func(labels string, c *call)) {
		v.Each(strings.Compare, func(name string, c *call) { fn(prom.Labels(label, name), c) })
	}
	p.Head("kubelet_runtime_operations_total", "counter", "[ALPHA] Calls of the container runtime.")
	each(&k.ops, "operation_type", func(labels string, c *call) { p.Value(labels, float64(c.all.Load())) })
	p.Head("kubelet_runtime_operations_errors_total", "counter", "[ALPHA] Calls of the container runtime that failed.")
	each(&k.ops, "operation_type", func(labels string, c *call) {
		if n := c.failed.Load(); n > 0 {
			p.Value(labels, float64(n))
		}
	})
	p.Head("kubelet_runtime_operations_duration_seconds", "histogram", "[ALPHA] How long calls of the container runtime took.")
	each(&k.ops, "operation_type", func(labels string, c *call) { p.Histogram(labels, c.took) })
	p.Head("kubelet_run_podsandbox_duration_seconds", "histogram", "[ALPHA] How long it took to make sandboxes, by the runtime's handler.")
	each(&k.boxes, "runtime_handler", func(labels string, c *call) { p.Histogram(labels, c.took) })
	p.Head("kubelet_run_podsandbox_errors_total", "counter", "[ALPHA] Sandboxes that could not be made, by the runtime's handler.")
	var made, failed int64
	each(&k.boxes, "runtime_handler", func(labels string, c *call) {
		made, failed = made+c.all.Load(), failed+c.failed.Load()
		if n := c.failed.Load(); n > 0 {
			p.Value(labels, float64(n))
		}
	})
	p.Head("kubelet_started_pods_total", "counter", "[ALPHA] Pods whose sandbox was asked for.")
	p.Value("", float64(made))
	p.Head("kubelet_started_pods_errors_total", "counter", "[ALPHA] Pods whose sandbox could not be made.")
	p.Value("", float64(failed))
	p.Head("kubelet_started_user_namespaced_pods_total", "counter", "[ALPHA] Of these, pods with a user namespace of their own.")
	p.Value("", float64(k.users.all.Load()))
	p.Head("kubelet_started_user_namespaced_pods_errors_total", "counter", "[ALPHA] Of these, those whose sandbox could not be made.")
	p.Value("", float64(k.users.failed.Load()))
}

// Runtime is r, with its calls counted. Streams of events are not calls.
func (k *Calls) Runtime(r Runtime) Runtime { return measured{r, k} }

type measured struct {
	Runtime
	k *Calls
}

// The calls, one to one.

func (m measured) Version(ctx context.Context, q *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return ask(m.k, "version", m.Runtime.Version)(ctx, q)
}

func (m measured) Status(ctx context.Context, q *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	return ask(m.k, "status", m.Runtime.Status)(ctx, q)
}

func (m measured) UpdateRuntimeConfig(ctx context.Context, q *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	return ask(m.k, "update_runtime_config", m.Runtime.UpdateRuntimeConfig)(ctx, q)
}

func (m measured) RunPodSandbox(ctx context.Context, q *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	began := time.Now()
	a, err := ask(m.k, "run_podsandbox", m.Runtime.RunPodSandbox)(ctx, q)
	m.k.boxes.Get(q.GetRuntimeHandler(), func() *call { return &call{took: prom.Usual().New()} }).add(began, err)
	if o := q.GetConfig().GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions(); o != nil && o.Mode == runtimeapi.NamespaceMode_POD {
		m.k.users.all.Add(1)
		if err != nil {
			m.k.users.failed.Add(1)
		}
	}
	return a, err
}

func (m measured) StopPodSandbox(ctx context.Context, q *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	return ask(m.k, "stop_podsandbox", m.Runtime.StopPodSandbox)(ctx, q)
}

func (m measured) RemovePodSandbox(ctx context.Context, q *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	return ask(m.k, "remove_podsandbox", m.Runtime.RemovePodSandbox)(ctx, q)
}

func (m measured) PodSandboxStatus(ctx context.Context, q *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	return ask(m.k, "podsandbox_status", m.Runtime.PodSandboxStatus)(ctx, q)
}

func (m measured) ListPodSandbox(ctx context.Context, q *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	return ask(m.k, "list_podsandbox", m.Runtime.ListPodSandbox)(ctx, q)
}

func (m measured) CreateContainer(ctx context.Context, q *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	return ask(m.k, "create_container", m.Runtime.CreateContainer)(ctx, q)
}

func (m measured) StartContainer(ctx context.Context, q *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	return ask(m.k, "start_container", m.Runtime.StartContainer)(ctx, q)
}

func (m measured) StopContainer(ctx context.Context, q *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	return ask(m.k, "stop_container", m.Runtime.StopContainer)(ctx, q)
}

func (m measured) RemoveContainer(ctx context.Context, q *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	return ask(m.k, "remove_container", m.Runtime.RemoveContainer)(ctx, q)
}

func (m measured) ListContainers(ctx context.Context, q *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	return ask(m.k, "list_containers", m.Runtime.ListContainers)(ctx, q)
}

func (m measured) ContainerStatus(ctx context.Context, q *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	return ask(m.k, "container_status", m.Runtime.ContainerStatus)(ctx, q)
}

func (m measured) UpdateContainerResources(ctx context.Context, q *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	return ask(m.k, "update_container", m.Runtime.UpdateContainerResources)(ctx, q)
}

func (m measured) CheckpointContainer(ctx context.Context, q *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	return ask(m.k, "checkpoint_container", m.Runtime.CheckpointContainer)(ctx, q)
}

func (m measured) ReopenContainerLog(ctx context.Context, q *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	return ask(m.k, "reopen_container_log", m.Runtime.ReopenContainerLog)(ctx, q)
}

func (m measured) ExecSync(ctx context.Context, q *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	return ask(m.k, "exec_sync", m.Runtime.ExecSync)(ctx, q)
}

func (m measured) Exec(ctx context.Context, q *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return ask(m.k, "exec", m.Runtime.Exec)(ctx, q)
}

func (m measured) Attach(ctx context.Context, q *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return ask(m.k, "attach", m.Runtime.Attach)(ctx, q)
}

func (m measured) PortForward(ctx context.Context, q *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return ask(m.k, "port_forward", m.Runtime.PortForward)(ctx, q)
}

func (m measured) ListContainerStats(ctx context.Context, q *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	return ask(m.k, "list_container_stats", m.Runtime.ListContainerStats)(ctx, q)
}

func (m measured) ListPodSandboxStats(ctx context.Context, q *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	return ask(m.k, "list_podsandbox_stats", m.Runtime.ListPodSandboxStats)(ctx, q)
}

// Images is i, with its calls counted.
func (k *Calls) Images(i Images) Images { return measuredImages{i, k} }

type measuredImages struct {
	Images
	k *Calls
}

func (m measuredImages) ListImages(ctx context.Context, q *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return ask(m.k, "list_images", m.Images.ListImages)(ctx, q)
}

func (m measuredImages) ImageStatus(ctx context.Context, q *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	return ask(m.k, "image_status", m.Images.ImageStatus)(ctx, q)
}

func (m measuredImages) PullImage(ctx context.Context, q *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	return ask(m.k, "pull_image", m.Images.PullImage)(ctx, q)
}

func (m measuredImages) RemoveImage(ctx context.Context, q *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	return ask(m.k, "remove_image", m.Images.RemoveImage)(ctx, q)
}

func (m measuredImages) ImageFsInfo(ctx context.Context, q *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return ask(m.k, "image_fs_info", m.Images.ImageFsInfo)(ctx, q)
}
