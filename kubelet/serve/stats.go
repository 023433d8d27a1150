package serve

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sort"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kubelet/observe"
)

func (s *Server) containerStats(ctx context.Context) ([]*runtimeapi.ContainerStats, error) {
	r, err := s.Runtime.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
	if err != nil {
		return nil, err
	}
	list := r.GetStats()
	sort.Slice(list, func(i, j int) bool { return list[i].GetAttributes().GetId() < list[j].GetAttributes().GetId() })
	return list, nil
}

// summary is the Summary API: what pods and containers use now.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	list, err := s.containerStats(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	out := stats.Summary{Node: stats.NodeStats{NodeName: s.Node.Name}}
	at := map[string]int{}
	for _, c := range list {
		uid, ns, name, ok := observe.Identity(c.GetAttributes().GetLabels())
		if !ok {
			continue
		}
		i, ok := at[string(uid)]
		if !ok {
			i = len(out.Pods)
			at[string(uid)] = i
			out.Pods = append(out.Pods, stats.PodStats{PodRef: stats.PodReference{Namespace: ns, Name: name, UID: string(uid)}})
		}
		out.Pods[i].Containers = append(out.Pods[i].Containers, containerSummary(c))
	}
	s.json(w, out)
}

func containerSummary(c *runtimeapi.ContainerStats) stats.ContainerStats {
	out := stats.ContainerStats{Name: c.GetAttributes().GetMetadata().GetName()}
	if cpu := c.GetCpu(); cpu != nil {
		out.CPU = &stats.CPUStats{Time: metav1.NewTime(time.Unix(0, cpu.GetTimestamp()))}
		out.CPU.UsageCoreNanoSeconds = value(cpu.GetUsageCoreNanoSeconds())
		out.CPU.UsageNanoCores = value(cpu.GetUsageNanoCores())
	}
	if m := c.GetMemory(); m != nil {
		out.Memory = &stats.MemoryStats{Time: metav1.NewTime(time.Unix(0, m.GetTimestamp()))}
		out.Memory.WorkingSetBytes, out.Memory.UsageBytes = value(m.GetWorkingSetBytes()), value(m.GetUsageBytes())
		out.Memory.RSSBytes, out.Memory.AvailableBytes = value(m.GetRssBytes()), value(m.GetAvailableBytes())
	}
	return out
}

func value(v *runtimeapi.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	n := v.GetValue()
	return &n
}

// metrics counts what the kubelet has, in Prometheus' text format.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	running, exited, pods := 0, 0, 0
	for _, p := range s.Host.Pods() {
		rt, ok := s.Host.Observed(r.Context(), p.UID)
		if !ok {
			continue
		}
		if rt.Sandbox() != nil {
			pods++
		}
		for i := range rt.Containers {
			switch rt.Containers[i].State {
			case observe.Running:
				running++
			case observe.Exited:
				exited++
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprintf(w, "# HELP kubelet_running_pods Number of pods that have a running pod sandbox\n# TYPE kubelet_running_pods gauge\nkubelet_running_pods %d\n", pods)
	fmt.Fprintf(w, "# HELP kubelet_running_containers Number of containers by state\n# TYPE kubelet_running_containers gauge\n"+
		"kubelet_running_containers{container_state=\"running\"} %d\nkubelet_running_containers{container_state=\"exited\"} %d\n", running, exited)
	fmt.Fprintf(w, "# HELP go_goroutines Number of goroutines that currently exist.\n# TYPE go_goroutines gauge\ngo_goroutines %d\n", runtime.NumGoroutine())
	fmt.Fprintf(w, "# HELP go_memstats_heap_inuse_bytes Bytes in use by the heap.\n# TYPE go_memstats_heap_inuse_bytes gauge\ngo_memstats_heap_inuse_bytes %d\n", m.HeapInuse)
}

// resourceMetrics is what metrics-server reads.
func (s *Server) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	list, err := s.containerStats(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	var cpu, mem strings.Builder
	for _, c := range list {
		_, ns, name, ok := observe.Identity(c.GetAttributes().GetLabels())
		if !ok {
			continue
		}
		labels := fmt.Sprintf("{container=%q,namespace=%q,pod=%q}", c.GetAttributes().GetMetadata().GetName(), ns, name)
		if v := c.GetCpu().GetUsageCoreNanoSeconds(); v != nil {
			fmt.Fprintf(&cpu, "container_cpu_usage_seconds_total%s %g %d\n", labels, float64(v.GetValue())/1e9, c.GetCpu().GetTimestamp()/1e6)
		}
		if v := c.GetMemory().GetWorkingSetBytes(); v != nil {
			fmt.Fprintf(&mem, "container_memory_working_set_bytes%s %d %d\n", labels, v.GetValue(), c.GetMemory().GetTimestamp()/1e6)
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, "# HELP container_cpu_usage_seconds_total Cumulative cpu time consumed by the container in core-seconds\n"+
		"# TYPE container_cpu_usage_seconds_total counter\n"+cpu.String()+
		"# HELP container_memory_working_set_bytes Current working set of the container in bytes\n"+
		"# TYPE container_memory_working_set_bytes gauge\n"+mem.String())
}
