package stats

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kit/prom"
)

// Resource is the page that metrics servers read. A reading that failed is told on the page.
func (c *Collector) Resource(ctx context.Context) (*prom.Page, error) {
	s, err := c.Summary(ctx, true)
	p := &page{}
	if err == nil {
		p.resource(s)
	}
	failed := 0.0
	if err != nil {
		failed = 1
	}
	p.Head("resource_scrape_error", "gauge", "[STABLE] Whether the reading failed: 1 or 0.")
	p.Value("", failed)
	p.Head("scrape_error", "gauge", "[ALPHA] (Deprecated since 1.29.0) Whether the reading failed: 1 or 0.")
	p.Value("", failed)
	return &p.Page, err
}

// page is a prom.Page of nodes, pods and containers.
type page struct{ prom.Page }

func (p *page) resource(s *stats.Summary) {
	p.containers("container_cpu_usage_seconds_total", "counter", "[STABLE] CPU time that a container has used, in core-seconds.", s, containerCPU)
	p.containers("container_memory_working_set_bytes", "gauge", "[STABLE] Working set of a container, in bytes.", s, containerWorkingSet)
	p.containers("container_start_time_seconds", "gauge", "[STABLE] When a container was started, in seconds since 1970.", s,
		func(c *stats.ContainerStats) (float64, time.Time, bool) {
			return seconds(c.StartTime), time.Time{}, !c.StartTime.IsZero()
		})
	p.containers("container_swap_limit_bytes", "gauge", "[ALPHA] Swap that a container may use, in bytes.", s,
		func(c *stats.ContainerStats) (float64, time.Time, bool) {
			if c.Swap == nil || c.Swap.SwapAvailableBytes == nil || c.Swap.SwapUsageBytes == nil {
				return 0, time.Time{}, false
			}
			return float64(*c.Swap.SwapAvailableBytes + *c.Swap.SwapUsageBytes), c.Swap.Time.Time, true
		})
	p.containers("container_swap_usage_bytes", "gauge", "[ALPHA] Swap that a container uses, in bytes.", s,
		func(c *stats.ContainerStats) (float64, time.Time, bool) { return swapUsed(c.Swap) })
	n := &s.Node
	p.one("node_cpu_usage_seconds_total", "counter", "[STABLE] CPU time that the node has used, in core-seconds.", cpuOf(n.CPU))
	p.one("node_memory_working_set_bytes", "gauge", "[STABLE] Working set of the node, in bytes.", workingSet(n.Memory))
	p.one("node_swap_usage_bytes", "gauge", "[ALPHA] Swap that the node uses, in bytes.", func() (float64, time.Time, bool) { return swapUsed(n.Swap) })
	p.pods("pod_cpu_usage_seconds_total", "counter", "[STABLE] CPU time that a pod has used, in core-seconds.", s,
		func(q *stats.PodStats) (float64, time.Time, bool) { return cpuOf(q.CPU)() })
	p.pods("pod_memory_working_set_bytes", "gauge", "[STABLE] Working set of a pod, in bytes.", s,
		func(q *stats.PodStats) (float64, time.Time, bool) { return workingSet(q.Memory)() })
	p.pods("pod_swap_usage_bytes", "gauge", "[ALPHA] Swap that a pod uses, in bytes.", s,
		func(q *stats.PodStats) (float64, time.Time, bool) { return swapUsed(q.Swap) })
}

func seconds(t metav1.Time) float64 { return float64(t.UnixNano()) / 1e9 }

func cpuOf(c *stats.CPUStats) func() (float64, time.Time, bool) {
	return func() (float64, time.Time, bool) {
		if c == nil || c.UsageCoreNanoSeconds == nil {
			return 0, time.Time{}, false
		}
		return float64(*c.UsageCoreNanoSeconds) / 1e9, c.Time.Time, true
	}
}

func workingSet(m *stats.MemoryStats) func() (float64, time.Time, bool) {
	return func() (float64, time.Time, bool) {
		if m == nil {
			return 0, time.Time{}, false
		}
		return known(m.WorkingSetBytes, m.Time)
	}
}

func swapUsed(s *stats.SwapStats) (float64, time.Time, bool) {
	if s == nil {
		return 0, time.Time{}, false
	}
	return known(s.SwapUsageBytes, s.Time)
}

func known(v *uint64, at metav1.Time) (float64, time.Time, bool) {
	if v == nil {
		return 0, time.Time{}, false
	}
	return float64(*v), at.Time, true
}

func containerCPU(c *stats.ContainerStats) (float64, time.Time, bool) { return cpuOf(c.CPU)() }

func containerWorkingSet(c *stats.ContainerStats) (float64, time.Time, bool) {
	return workingSet(c.Memory)()
}

// one is a metric of one series.
func (p *page) one(name, kind, help string, get func() (float64, time.Time, bool)) {
	if v, at, ok := get(); ok {
		p.Head(name, kind, help)
		p.ValueAt("", v, at)
	}
}

func (p *page) pods(name, kind, help string, s *stats.Summary, get func(*stats.PodStats) (float64, time.Time, bool)) {
	begun := false
	for i := range s.Pods {
		q := &s.Pods[i]
		if v, at, ok := get(q); ok {
			if !begun {
				p.Head(name, kind, help)
				begun = true
			}
			p.ValueAt(prom.Labels("namespace", q.PodRef.Namespace, "pod", q.PodRef.Name), v, at)
		}
	}
}

func (p *page) containers(name, kind, help string, s *stats.Summary, get func(*stats.ContainerStats) (float64, time.Time, bool)) {
	begun := false
	for i := range s.Pods {
		q := &s.Pods[i]
		for k := range q.Containers {
			c := &q.Containers[k]
			if v, at, ok := get(c); ok {
				if !begun {
					p.Head(name, kind, help)
					begun = true
				}
				p.ValueAt(prom.Labels("container", c.Name, "namespace", q.PodRef.Namespace, "pod", q.PodRef.Name), v, at)
			}
		}
	}
}
