package replicaset

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/control"
)

// leastMissed is pods in the order in which they are to be deleted. The order is Kubernetes' own: pods without a node; then pending,
// unknown, running; not ready; a lower deletion cost; on a node with more ready pods of the set or its siblings; shorter ready; more
// restarts; younger. Ages are compared by their order of magnitude only, so that a scale-down also meets some older pods.
func leastMissed(pods, related []*core.Pod) []*core.Pod {
	onNode := map[string]int{}
	latest := time.Time{}
	for _, p := range related {
		if p.Spec.NodeName != "" && control.Active(p) && control.Ready(p) {
			onNode[p.Spec.NodeName]++
		}
	}
	for _, p := range pods {
		if t := p.CreationTimestamp.Time; t.After(latest) {
			latest = t
		}
		if t := readySince(p); t.After(latest) {
			latest = t
		}
	}
	out := slices.Clone(pods)
	slices.SortStableFunc(out, func(a, b *core.Pod) int {
		return cmp.Or(
			cmp.Compare(b2i(a.Spec.NodeName != ""), b2i(b.Spec.NodeName != "")),
			cmp.Compare(phaseRank(a), phaseRank(b)),
			cmp.Compare(b2i(control.Ready(a)), b2i(control.Ready(b))),
			cmp.Compare(cost(a), cost(b)),
			cmp.Compare(onNode[b.Spec.NodeName], onNode[a.Spec.NodeName]),
			cmp.Compare(magnitude(readySince(a), latest), magnitude(readySince(b), latest)),
			cmp.Compare(restarts(b), restarts(a)),
			cmp.Compare(magnitude(a.CreationTimestamp.Time, latest), magnitude(b.CreationTimestamp.Time, latest)),
			cmp.Compare(a.UID, b.UID),
		)
	})
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func phaseRank(p *core.Pod) int {
	switch p.Status.Phase {
	case core.PodRunning:
		return 2
	case core.PodUnknown:
		return 1
	}
	return 0
}

// cost is the annotation controller.kubernetes.io/pod-deletion-cost, 0 where it is missing or no number.
func cost(p *core.Pod) int32 {
	n, err := strconv.ParseInt(p.Annotations[core.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

func readySince(p *core.Pod) time.Time {
	if c := control.Condition(p, core.PodReady); c != nil && c.Status == core.ConditionTrue {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

// magnitude is the base-2 logarithm of the age at the time of the youngest of all, in whole steps; a time that is not known counts as
// the youngest. Measured from the youngest and not from now, so that the order does not depend on the clock.
func magnitude(t, latest time.Time) int {
	age := latest.Sub(t)
	if t.IsZero() || age <= 0 {
		return -1
	}
	return int(math.Log2(float64(age)))
}

func restarts(p *core.Pod) int32 {
	var n int32
	for _, c := range p.Status.ContainerStatuses {
		n = max(n, c.RestartCount)
	}
	return n
}
