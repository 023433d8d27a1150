package scheduler

import (
	"slices"
	"strings"
)

// fits compares what the pod requests with what is left of the node. It names every resource that falls short.
func fits(k *class, n *node) *verdict {
	var short []string
	if len(n.pods)+1 > n.maxPods {
		short = append(short, "Too many pods")
	}
	r := &k.req
	if r.cpu > 0 && r.cpu > n.alloc.cpu-n.used.cpu {
		short = append(short, "Insufficient cpu")
	}
	if r.memory > 0 && r.memory > n.alloc.memory-n.used.memory {
		short = append(short, "Insufficient memory")
	}
	if r.ephemeral > 0 && r.ephemeral > n.alloc.ephemeral-n.used.ephemeral {
		short = append(short, "Insufficient ephemeral-storage")
	}
	for name, want := range r.scalar {
		if want > 0 && want > n.alloc.scalar[name]-n.used.scalar[name] && !k.byClaim(n, name) {
			short = append(short, "Insufficient "+name)
		}
	}
	if short == nil {
		return nil
	}
	// Evictions do not help a pod that is larger than the whole node.
	evict := r.cpu <= n.alloc.cpu && r.memory <= n.alloc.memory && r.ephemeral <= n.alloc.ephemeral && n.maxPods > 0
	for name, want := range r.scalar {
		evict = evict && (want <= n.alloc.scalar[name] || k.byClaim(n, name))
	}
	slices.Sort(short)
	key := strings.Join(short, "\x00")
	if !evict {
		key += "\x00!"
	}
	if v := k.verdicts[key]; v != nil {
		return v
	}
	v := &verdict{reasons: short, cause: byResources, evict: evict}
	k.verdicts[key] = v
	return v
}
