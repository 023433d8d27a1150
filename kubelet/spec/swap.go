package spec

import (
	"strconv"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// setSwap bounds what a container may swap (KEP-2400): nothing, unless the node lets pods swap and the container may.
func setSwap(n *Node, pod *core.Pod, c *core.Container, r *runtimeapi.LinuxContainerResources) {
	if !n.CgroupV2 { // memory and swap are one limit there: without a limit of memory, swapping cannot be kept from
		r.MemorySwapLimitInBytes = r.MemoryLimitInBytes
		return
	}
	limit := int64(0)
	if n.LimitedSwap && maySwap(pod, c) {
		limit = shareOfSwap(n, c.Resources.Requests.Memory().Value())
	}
	setFile(r, "memory.swap.max", limit)
}

// maySwap says whether a container may where pods swap at all: in a burstable pod, and if it asked for some memory and not for all that it
// may use. Critical pods never do.
func maySwap(pod *core.Pod, c *core.Container) bool {
	request, limit := c.Resources.Requests.Memory(), c.Resources.Limits.Memory()
	return QOS(pod) == core.PodQOSBurstable && !Critical(pod) && !(request.IsZero() && limit.IsZero()) && request.Cmp(*limit) != 0
}

// shareOfSwap is as much of the node's swap as what a container requests is of its memory.
func shareOfSwap(n *Node, request int64) int64 {
	if n.Memory <= 0 || request > n.Memory {
		return 0
	}
	return int64(float64(request) / float64(n.Memory) * float64(n.Swap))
}

// Critical says whether the node can not do without a pod: static pods and their mirrors, and those of the highest priorities.
func Critical(pod *core.Pod) bool {
	const system = 2_000_000_000
	source := pod.Annotations["kubernetes.io/config.source"]
	_, mirror := pod.Annotations[core.MirrorPodAnnotationKey]
	return mirror || source != "" && source != "api" || pod.Spec.Priority != nil && *pod.Spec.Priority >= system
}

// setFile sets a file of v2 control groups.
func setFile(r *runtimeapi.LinuxContainerResources, file string, value int64) {
	if r.Unified == nil {
		r.Unified = map[string]string{}
	}
	r.Unified[file] = strconv.FormatInt(value, 10)
}
