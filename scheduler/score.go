package scheduler

import (
	core "k8s.io/api/core/v1"
)

// What a full mark (100) of each preference weighs, in the proportions of Kubernetes' defaults.
const (
	weightFree     = 1
	weightBalance  = 1
	weightImages   = 1
	weightAffinity = 2 // to nodes and to pods
	weightSpread   = 2
	weightTaints   = 3

	full = 100
)

// rate says how good a node is by itself: its marks, weighted.
func (k *class) rate(n *node) int32 {
	s := weightFree*k.free(n) + weightBalance*k.balance(n) + weightImages*k.hasImages(n) + weightTaints*k.untainted(n)
	if k.preferred != nil {
		s += weightAffinity * k.likesNode(n)
	}
	for _, t := range k.counters {
		if t.host {
			s += t.mark(n)
		}
	}
	return int32(s)
}

// rateGroup says how good the domains of a group are.
func (k *class) rateGroup(n *node) int32 {
	s := int64(0)
	for _, t := range k.counters {
		if !t.host {
			s += t.mark(n)
		}
	}
	return int32(s)
}

// free prefers nodes with much left of CPU and memory.
func (k *class) free(n *node) int64 {
	cpu, memory := k.load(n)
	return int64(full * (2 - min(cpu, 1) - min(memory, 1)) / 2)
}

// balance prefers nodes where CPU and memory are used alike, so that neither is stranded.
func (k *class) balance(n *node) int64 {
	cpu, memory := k.load(n)
	d := min(cpu, 1) - min(memory, 1)
	if d < 0 {
		d = -d
	}
	return int64(full * (1 - d/2))
}

// load is the used fractions of a node with the pod on it.
func (k *class) load(n *node) (cpu, memory float64) {
	cpu, memory = 1, 1
	if n.alloc.cpu > 0 {
		cpu = float64(n.used.likelyCPU+k.req.likelyCPU) / float64(n.alloc.cpu)
	}
	if n.alloc.memory > 0 {
		memory = float64(n.used.likelyMemory+k.req.likelyMemory) / float64(n.alloc.memory)
	}
	return cpu, memory
}

// Images smaller than the first bound per container are pulled in no time; beyond the second, larger makes no difference.
const (
	smallImage = 23 << 20
	largeImage = 1000 << 20
)

// hasImages prefers nodes that have the pod's images already.
func (k *class) hasImages(n *node) int64 {
	if len(n.images) == 0 {
		return 0
	}
	var have int64
	for _, name := range k.images {
		have += n.images[name]
	}
	limit := int64(largeImage * len(k.images))
	if have = min(have, limit); have < smallImage {
		return 0
	}
	return full * (have - smallImage) / (limit - smallImage)
}

// untainted prefers nodes without taints that say "rather not".
func (k *class) untainted(n *node) int64 {
	bad := int64(0)
	for i := range n.obj.Spec.Taints {
		t := &n.obj.Spec.Taints[i]
		if t.Effect == core.TaintEffectPreferNoSchedule && !tolerates(k.pod.Spec.Tolerations, t) {
			bad++
		}
	}
	return full / (1 + bad)
}

// likesNode is the share of the weight of preferred node affinity that a node earns.
func (k *class) likesNode(n *node) int64 {
	var all int64
	for i := range k.pod.Spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		all += int64(k.pod.Spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution[i].Weight)
	}
	if all == 0 {
		return 0
	}
	return full * k.preferred.Score(n.obj) / all
}

// mark is the weighted mark of a node for what a counter counts in its domain.
func (t *counter) mark(n *node) int64 {
	pods, ok := t.pods(n)
	switch t.kind {
	case spreadSoft:
		if !ok {
			return 0
		}
		if t.host {
			return weightSpread * full / (1 + pods)
		}
		least, _ := t.least()
		room := t.most() - least + t.rule.maxSkew
		return weightSpread * full * (room - (pods - least)) / max(room, 1)
	case prefer:
		if !ok || pods == 0 {
			return 0
		}
		return weightAffinity * int64(t.weight) // a weight is 1 to 100: a mark by itself
	case likedBy:
		return weightAffinity * max(-full, min(full, pods))
	}
	return 0
}
