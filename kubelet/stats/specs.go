package stats

import (
	"time"

	core "k8s.io/api/core/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kit/prom"
)

// What the kernel is told of CPU time: a quota of so many microseconds, and shares that are 1024 for a core.
const (
	period   = 100000
	perCore  = 1024
	minShare = 2
)

// specs writes what containers may have and when they were last looked at, by cAdvisor's names.
func (p *page) specs(s *stats.Summary, pods map[string]*core.Pod, now time.Time) {
	for _, m := range []struct {
		name, help string
		get        func(*core.ResourceRequirements) (float64, bool)
	}{
		{"container_last_seen", "When a container was last seen, in seconds since 1970.", func(*core.ResourceRequirements) (float64, bool) { return float64(now.Unix()), true }},
		{"container_spec_cpu_period", "Period of the CPU quota of a container, in microseconds.", func(r *core.ResourceRequirements) (float64, bool) { return period, !r.Limits.Cpu().IsZero() }},
		{"container_spec_cpu_quota", "CPU quota of a container in a period, in microseconds.", func(r *core.ResourceRequirements) (float64, bool) {
			return float64(r.Limits.Cpu().MilliValue() * period / 1000), !r.Limits.Cpu().IsZero()
		}},
		{"container_spec_cpu_shares", "Share of a container in the CPU.", func(r *core.ResourceRequirements) (float64, bool) {
			ask, ok := r.Requests[core.ResourceCPU]
			if !ok {
				ask = r.Limits[core.ResourceCPU]
			}
			return float64(max(ask.MilliValue()*perCore/1000, minShare)), true
		}},
		{"container_spec_memory_limit_bytes", "Memory that a container may use, in bytes; 0: there is no limit.", func(r *core.ResourceRequirements) (float64, bool) { return float64(r.Limits.Memory().Value()), true }},
	} {
		begun := false
		for i := range s.Pods {
			q := &s.Pods[i]
			for k := range q.Containers {
				c := find(pods[q.PodRef.UID], q.Containers[k].Name)
				if c == nil {
					continue
				}
				v, ok := m.get(&c.Resources)
				if !ok {
					continue
				}
				if !begun {
					p.Head(m.name, "gauge", m.help)
					begun = true
				}
				p.Value(prom.Labels("container", c.Name, "image", c.Image, "namespace", q.PodRef.Namespace, "pod", q.PodRef.Name), v)
			}
		}
	}
}

// find is a container of a pod that has limits of its own; nil: there is none of this name.
func find(pod *core.Pod, name string) *core.Container {
	if pod == nil {
		return nil
	}
	for _, list := range [][]core.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
