package scheduler

import (
	"slices"

	core "k8s.io/api/core/v1"
)

// pinnedTo is the names of the only nodes that a pod's required affinity can match; nil if it does not name any.
func pinnedTo(pod *core.Pod) []string {
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	var names []string
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		i := slices.IndexFunc(term.MatchFields, func(r core.NodeSelectorRequirement) bool {
			return r.Key == "metadata.name" && r.Operator == core.NodeSelectorOpIn
		})
		if i < 0 {
			return nil
		}
		names = append(names, term.MatchFields[i].Values...)
	}
	return names
}

// alone says whether a class is pinned and looks at no other pods: then only its few nodes have to be judged, and nothing is kept.
func (k *class) alone(c *cluster) bool {
	return k.pinned != nil && len(newCounters(c, k)) == 0
}

// pickPinned is pick for a class that is alone.
func (k *class) pickPinned(c *cluster) *node {
	var best *node
	bestScore := int32(0)
	for _, name := range k.pinned {
		n := c.byName[name]
		if n == nil || n.obj == nil || k.judge(n) != nil {
			continue
		}
		if score := k.rate(n); best == nil || score > bestScore {
			best, bestScore = n, score
		}
	}
	return best
}
