package memory

import (
	"maps"

	core "k8s.io/api/core/v1"

	"proa.dev/kubelet/topology"
)

// block is memory of one type that a container has.
type block struct {
	Nodes []int             `json:"numaAffinity"`
	Type  core.ResourceName `json:"type"`
	Size  uint64            `json:"size"` // without what a later container of the pod has taken over
}

func (b block) mask() topology.Mask { return topology.MaskOf(b.Nodes...) }

// ask is what a container asks for, in bytes.
type ask map[core.ResourceName]uint64

// room is what the nodes have for pods.
type room map[int]map[core.ResourceName]uint64

// total is what nodes have together.
func (r room) total(m topology.Mask, t core.ResourceName) (sum uint64) {
	for _, n := range m.Nodes() {
		sum += r[n][t]
	}
	return sum
}

// allowed says whether memory may be given from these nodes as one group: each other use of one of them has to be of the same group.
func allowed(blocks []block, m topology.Mask) bool {
	for _, b := range blocks {
		if b.mask() != m && b.mask()&m != 0 {
			return false
		}
	}
	return true
}

// free is what a group has left.
func (r room) free(blocks []block, m topology.Mask, t core.ResourceName) uint64 {
	have := r.total(m, t)
	for _, b := range blocks {
		if b.Type == t && b.mask()&m != 0 {
			have -= min(have, b.Size)
		}
	}
	return have
}

// fits says whether a group has left what is asked for.
func (r room) fits(blocks []block, m topology.Mask, a ask) bool {
	for t, n := range a {
		if r.free(blocks, m, t) < n {
			return false
		}
	}
	return true
}

// less is a without what can be had again from the same group.
func (a ask) less(reuse []block, m topology.Mask) ask {
	out := maps.Clone(a)
	for _, b := range reuse {
		if b.mask() == m && out[b.Type] > 0 {
			out[b.Type] -= min(out[b.Type], b.Size)
		}
	}
	return out
}

// hints are the groups that can take a; preferred are those that are as small as they could be on an empty machine. reuse is memory of the
// same pod that can be had again.
func (r room) hints(nodes []int, blocks []block, a ask, reuse []block) []topology.Hint {
	least := len(nodes)
	out := []topology.Hint{}
	topology.Subsets(nodes, func(m topology.Mask) {
		for t, n := range a {
			if r.total(m, t) < n {
				return
			}
		}
		least = min(least, m.Count())
		if allowed(blocks, m) && r.fits(blocks, m, a.less(reuse, m)) {
			out = append(out, topology.Hint{Nodes: m})
		}
	})
	for i := range out {
		out[i].Preferred = out[i].Nodes.Count() == least
	}
	return out
}

// best is the hint to take where nobody said which: a preferred one, of those the narrowest.
func best(hints []topology.Hint, within topology.Mask) (topology.Hint, bool) {
	found, ok := topology.Hint{}, false
	for _, h := range hints {
		if h.Nodes&within != within {
			continue
		}
		if !ok || h.Preferred && !found.Preferred || h.Preferred == found.Preferred && h.Nodes.Narrower(found.Nodes) {
			found, ok = h, true
		}
	}
	return found, ok
}
