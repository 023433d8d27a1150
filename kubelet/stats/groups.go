package stats

import (
	"context"
	"path/filepath"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/cadvisor"
	"proa.dev/kubelet/observe"
)

// Cadvisor is the page of figures that dashboards know by cAdvisor's names.
func (c *Collector) Cadvisor(ctx context.Context) (*prom.Page, error) {
	sandboxes, containers, err := c.ask(ctx, map[string]string{observe.Node: c.Node.Name})
	if err != nil {
		return nil, err
	}
	p := &prom.Page{}
	cadvisor.Machine{Root: filepath.Dir(c.Proc)}.Write(p, c.groups(ctx, sandboxes, containers))
	return p, nil
}

// groups are the control groups that are told of: the machine's, those of all pods and of classes of pods, and those of pods, sandboxes and
// containers. Runtimes name the groups of sandboxes and containers after their ids, below that of the pod.
func (c *Collector) groups(ctx context.Context, sandboxes []*runtimeapi.PodSandboxStats, containers []*runtimeapi.ContainerStats) []cadvisor.Group {
	list := []cadvisor.Group{{Path: "/", Links: true}}
	all := filepath.Join("/", c.Node.CgroupParent, "kubepods")
	if parent := filepath.Dir(all); parent != "/" {
		list = append(list, cadvisor.Group{Path: parent})
	}
	list = append(list, cadvisor.Group{Path: all}, cadvisor.Group{Path: all + "/besteffort"}, cadvisor.Group{Path: all + "/burstable"})
	pods := map[types.UID]*core.Pod{}
	for _, p := range c.Host.Pods() {
		pods[p.UID] = p
	}
	told := map[types.UID]observe.Pod{}
	of := func(labels map[string]string) (pod *core.Pod, path string) {
		uid, _, _, ok := observe.Identity(labels)
		if pod = pods[uid]; !ok || pod == nil {
			return nil, ""
		}
		path = c.Node.Cgroup(pod)
		if _, ok := told[uid]; !ok {
			told[uid], _ = c.Host.Observed(ctx, uid) // what is not known has no times
			list = append(list, cadvisor.Group{Path: path, Namespace: pod.Namespace, Pod: pod.Name, Links: true})
		}
		return pod, path
	}
	for _, s := range sandboxes {
		if pod, path := of(s.GetAttributes().GetLabels()); pod != nil {
			id := s.GetAttributes().GetId()
			list = append(list, cadvisor.Group{Path: filepath.Join(path, id), Namespace: pod.Namespace, Pod: pod.Name, Name: id})
		}
	}
	for _, s := range containers {
		pod, path := of(s.GetAttributes().GetLabels())
		if pod == nil {
			continue
		}
		id := s.GetAttributes().GetId()
		g := cadvisor.Group{Path: filepath.Join(path, id), Namespace: pod.Namespace, Pod: pod.Name, Name: id,
			Container: s.GetAttributes().GetMetadata().GetName(), Known: said(s)}
		seen := told[pod.UID]
		if one := seen.ByID(id); one != nil {
			g.Image, g.Started = one.Image, one.Started
		}
		if w := s.GetWritableLayer(); w.GetFsId().GetMountpoint() != "" {
			g.Layer = &cadvisor.Layer{Path: w.GetFsId().GetMountpoint(), Used: w.GetUsedBytes().GetValue()}
		}
		list = append(list, g)
	}
	return list
}

// said is what a runtime says itself, by cAdvisor's names.
func said(s *runtimeapi.ContainerStats) map[string]float64 {
	out := map[string]float64{}
	for name, v := range map[string]*runtimeapi.UInt64Value{
		"container_cpu_usage_seconds_total":  s.GetCpu().GetUsageCoreNanoSeconds(),
		"container_memory_rss":               s.GetMemory().GetRssBytes(),
		"container_memory_usage_bytes":       s.GetMemory().GetUsageBytes(),
		"container_memory_working_set_bytes": s.GetMemory().GetWorkingSetBytes(),
		"container_memory_swap":              s.GetSwap().GetSwapUsageBytes(),
	} {
		if v != nil {
			out[name] = float64(v.GetValue())
		}
	}
	if v, ok := out["container_cpu_usage_seconds_total"]; ok {
		out["container_cpu_usage_seconds_total"] = v / 1e9
	}
	return out
}
