package spec

import (
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What the kernel understands: shares of a CPU, and the period of a quota in microseconds with the least quota it takes.
const (
	sharesPerCPU = 1024
	minShares    = 2
	maxShares    = 262144
	quotaPeriod  = 100_000
	minQuota     = 1000
	pidsMax      = "pids.max"
)

// QOS is the pod's class of service: what its status says, else computed from its resources.
func QOS(pod *core.Pod) core.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	some, all := false, true
	for _, list := range [][]core.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			for _, name := range []core.ResourceName{core.ResourceCPU, core.ResourceMemory} {
				req, limit := list[i].Resources.Requests[name], list[i].Resources.Limits[name]
				some = some || !req.IsZero() || !limit.IsZero()
				all = all && !limit.IsZero() && (req.IsZero() || req.Cmp(limit) == 0)
			}
		}
	}
	switch {
	case !some:
		return core.PodQOSBestEffort
	case all:
		return core.PodQOSGuaranteed
	}
	return core.PodQOSBurstable
}

// Resources are the limits of one container.
func Resources(n *Node, pod *core.Pod, c *core.Container) *runtimeapi.LinuxContainerResources {
	limits, requests := c.Resources.Limits, c.Resources.Requests
	if r := pod.Spec.Resources; r != nil { // limits of the whole pod bound a container that has none
		limits = withDefaults(limits, r.Limits)
	}
	cpu, ok := requests[core.ResourceCPU]
	if !ok {
		cpu = limits[core.ResourceCPU]
	}
	r := &runtimeapi.LinuxContainerResources{
		CpuShares:          Shares(cpu.MilliValue()),
		CpuPeriod:          quotaPeriod,
		CpuQuota:           quota(limits.Cpu().MilliValue()),
		MemoryLimitInBytes: limits.Memory().Value(),
		OomScoreAdj:        oomScore(n, pod, c),
		HugepageLimits:     hugepages(n, c.Resources.Limits),
	}
	if n.Limits.NoCFSQuota {
		r.CpuQuota = 0
	}
	setSwap(n, pod, c, r)
	if n.CgroupV2 && !n.SingleOOMKill {
		setFile(r, "memory.oom.group", 1) // a container that lost one of its processes is of no use
	}
	return r
}

func withDefaults(have, defaults core.ResourceList) core.ResourceList {
	out := core.ResourceList{}
	for _, list := range []core.ResourceList{defaults, have} {
		for k, v := range list {
			out[k] = v
		}
	}
	return out
}

// Shares are those of a CPU for so many thousandths of one.
func Shares(milli int64) int64 { return min(max(milli*sharesPerCPU/1000, minShares), maxShares) }

func quota(milli int64) int64 {
	if milli == 0 {
		return 0
	}
	return max(milli*quotaPeriod/1000, minQuota)
}

// oomScore makes the kernel kill best-effort pods first, then those that use more than they asked for, guaranteed ones last.
func oomScore(n *Node, pod *core.Pod, c *core.Container) int64 {
	const guaranteed, bestEffort = -997, 1000
	if p := pod.Spec.Priority; p != nil && *p >= 2_000_001_000 { // system-node-critical
		return guaranteed
	}
	switch QOS(pod) {
	case core.PodQOSGuaranteed:
		return guaranteed
	case core.PodQOSBestEffort:
		return bestEffort
	}
	if n.Memory == 0 {
		return bestEffort - 1
	}
	adj := 1000 - 1000*c.Resources.Requests.Memory().Value()/n.Memory
	return min(max(adj, 1000+guaranteed), bestEffort-1)
}

// hugepages are the limits of a container for the pages that the node has: none of them, unless it says.
func hugepages(n *Node, limits core.ResourceList) []*runtimeapi.HugepageLimit {
	var out []*runtimeapi.HugepageLimit
	add := func(size string, bytes int64) { // the kernel says 2MB where Kubernetes says 2Mi
		out = append(out, &runtimeapi.HugepageLimit{PageSize: strings.TrimSuffix(size, "i") + "B", Limit: uint64(bytes)})
	}
	for _, size := range n.HugePages {
		if _, own := limits[core.ResourceName(core.ResourceHugePagesPrefix+size)]; !own {
			add(size, 0)
		}
	}
	for name, q := range limits {
		if size, ok := strings.CutPrefix(string(name), core.ResourceHugePagesPrefix); ok {
			add(size, q.Value())
		}
	}
	return out
}

// PodResources are the limits of the pod as a whole: sums, where every container has the limit.
func PodResources(n *Node, pod *core.Pod) *runtimeapi.LinuxContainerResources {
	requests := resource.PodRequests(pod, resource.PodResourcesOptions{})
	cpuLimited, memLimited := true, true
	for i := range pod.Spec.Containers {
		cpuLimited = cpuLimited && !pod.Spec.Containers[i].Resources.Limits.Cpu().IsZero()
		memLimited = memLimited && !pod.Spec.Containers[i].Resources.Limits.Memory().IsZero()
	}
	if r := pod.Spec.Resources; r != nil {
		cpuLimited = cpuLimited || !r.Limits.Cpu().IsZero()
		memLimited = memLimited || !r.Limits.Memory().IsZero()
	}
	limits := resource.PodLimits(pod, resource.PodResourcesOptions{})
	r := &runtimeapi.LinuxContainerResources{CpuShares: Shares(requests.Cpu().MilliValue())}
	if cpuLimited && !n.Limits.NoCFSQuota {
		r.CpuPeriod, r.CpuQuota = quotaPeriod, quota(limits.Cpu().MilliValue())
	}
	if memLimited {
		r.MemoryLimitInBytes = limits.Memory().Value()
	}
	if n.Limits.Pids > 0 { // CRI has no other field for it
		setFile(r, pidsMax, n.Limits.Pids)
	}
	return r
}

func overhead(pod *core.Pod) *runtimeapi.LinuxContainerResources {
	if pod.Spec.Overhead == nil {
		return &runtimeapi.LinuxContainerResources{}
	}
	return &runtimeapi.LinuxContainerResources{
		CpuShares:          Shares(pod.Spec.Overhead.Cpu().MilliValue()),
		CpuPeriod:          quotaPeriod,
		CpuQuota:           quota(pod.Spec.Overhead.Cpu().MilliValue()),
		MemoryLimitInBytes: pod.Spec.Overhead.Memory().Value(),
	}
}
