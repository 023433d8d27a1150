package cri

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// metric is one figure that kubelets show at /metrics/cadvisor.
type metric struct {
	name, help string
	kind       runtimeapi.MetricType
	of         func(cpu *runtimeapi.CpuUsage, mem *runtimeapi.MemoryUsage) *runtimeapi.UInt64Value
}

const (
	counter = runtimeapi.MetricType_COUNTER
	gauge   = runtimeapi.MetricType_GAUGE
)

// metrics of pods and of containers.
var metrics = [...]metric{
	{"container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", counter,
		func(c *runtimeapi.CpuUsage, _ *runtimeapi.MemoryUsage) *runtimeapi.UInt64Value {
			return value(c.GetUsageCoreNanoSeconds().GetValue() / uint64(time.Second))
		}},
	{"container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed", gauge,
		func(_ *runtimeapi.CpuUsage, m *runtimeapi.MemoryUsage) *runtimeapi.UInt64Value {
			return m.GetUsageBytes()
		}},
	{"container_memory_working_set_bytes", "Current working set in bytes.", gauge,
		func(_ *runtimeapi.CpuUsage, m *runtimeapi.MemoryUsage) *runtimeapi.UInt64Value {
			return m.GetWorkingSetBytes()
		}},
	{"container_memory_rss", "Size of RSS in bytes.", gauge,
		func(_ *runtimeapi.CpuUsage, m *runtimeapi.MemoryUsage) *runtimeapi.UInt64Value {
			return m.GetRssBytes()
		}},
}

// ofPods are the metrics of pods alone.
var ofPods = [...]struct{ name, help string }{
	{"container_network_receive_bytes_total", "Cumulative count of bytes received"},
	{"container_network_transmit_bytes_total", "Cumulative count of bytes transmitted"},
	{"container_network_receive_errors_total", "Cumulative count of errors encountered while receiving"},
	{"container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting"},
}

// ListMetricDescriptors implements CRI. A network metric has the name of the link as its label.
func (r *Runtime) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	resp := &runtimeapi.ListMetricDescriptorsResponse{}
	for _, m := range metrics {
		resp.Descriptors = append(resp.Descriptors, &runtimeapi.MetricDescriptor{Name: m.name, Help: m.help})
	}
	for _, m := range ofPods {
		resp.Descriptors = append(resp.Descriptors, &runtimeapi.MetricDescriptor{Name: m.name, Help: m.help, LabelKeys: []string{"interface"}})
	}
	return resp, nil
}

// ListPodSandboxMetrics implements CRI: the figures of ListPodSandboxStats, as metrics.
func (r *Runtime) ListPodSandboxMetrics(ctx context.Context, _ *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	stats, err := r.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{})
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.ListPodSandboxMetricsResponse{}
	for _, s := range stats.Stats {
		pod := &runtimeapi.PodSandboxMetrics{PodSandboxId: s.Attributes.Id, Metrics: measured(s.Linux.Cpu, s.Linux.Memory)}
		for _, i := range s.GetLinux().GetNetwork().GetInterfaces() {
			for n, v := range []*runtimeapi.UInt64Value{i.RxBytes, i.TxBytes, i.RxErrors, i.TxErrors} {
				pod.Metrics = append(pod.Metrics, &runtimeapi.Metric{Name: ofPods[n].name, MetricType: counter, LabelValues: []string{i.Name}, Value: v})
			}
		}
		for _, c := range s.Linux.Containers {
			pod.ContainerMetrics = append(pod.ContainerMetrics, &runtimeapi.ContainerMetrics{ContainerId: c.Attributes.Id, Metrics: measured(c.Cpu, c.Memory)})
		}
		resp.PodMetrics = append(resp.PodMetrics, pod)
	}
	return resp, nil
}

func measured(cpu *runtimeapi.CpuUsage, mem *runtimeapi.MemoryUsage) (out []*runtimeapi.Metric) {
	for _, m := range metrics {
		out = append(out, &runtimeapi.Metric{Name: m.name, MetricType: m.kind, Value: m.of(cpu, mem)})
	}
	return out
}

// StreamPodSandboxMetrics implements CRI: ListPodSandboxMetrics for answers larger than a message may be.
func (r *Runtime) StreamPodSandboxMetrics(_ *runtimeapi.StreamPodSandboxMetricsRequest, stream runtimeapi.RuntimeService_StreamPodSandboxMetricsServer) error {
	resp, err := r.ListPodSandboxMetrics(stream.Context(), &runtimeapi.ListPodSandboxMetricsRequest{})
	if err != nil {
		return err
	}
	return chunked(resp.PodMetrics, func(items []*runtimeapi.PodSandboxMetrics) error {
		return stream.Send(&runtimeapi.StreamPodSandboxMetricsResponse{PodSandboxMetrics: items})
	})
}
