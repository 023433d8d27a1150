package device

import (
	"maps"
	"slices"

	core "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"proa.dev/kubelet/topology"
)

// Hints says from which nodes the devices of a container, or of a pod as a whole (c is nil), could come.
func (m *Manager) Hints(pod *core.Pod, c *core.Container) topology.Hints {
	var limits core.ResourceList
	if c != nil {
		limits = c.Resources.Limits
	} else {
		limits = resource.PodLimits(pod, resource.PodResourcesOptions{ExcludeOverhead: true})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := topology.Hints{}
	for name, q := range limits {
		if !m.handles(string(name)) {
			continue
		}
		a, want := m.resources[string(name)], int(q.Value())
		if a == nil || !a.aligned() {
			out[string(name)] = nil
			continue
		}
		out[string(name)] = m.hint(pod, c, string(name), want)
	}
	return out
}

// hint is for one resource. m.mu is held.
func (m *Manager) hint(pod *core.Pod, c *core.Container, name string, want int) []topology.Hint {
	a := m.resources[name]
	if have := m.has(pod, c, name); len(have) > 0 {
		if len(have) != want {
			return []topology.Hint{}
		}
		return a.hints(m.nodes, have, nil, want)
	}
	used := m.inUse(name)
	free := slices.DeleteFunc(slices.Collect(maps.Keys(a.healthy())), func(id string) bool { return used[id] })
	var reuse []string
	if c != nil {
		reuse = m.reusable(pod, name)
	}
	if len(free)+len(reuse) < want {
		return []topology.Hint{}
	}
	return a.hints(m.nodes, free, reuse, want)
}

// has are the devices that a container, or the pod, has already.
func (m *Manager) has(pod *core.Pod, c *core.Container, name string) []string {
	seen := map[string]bool{}
	for container, resources := range m.given[pod.UID] {
		if g := resources[name]; g != nil && (c == nil || c.Name == container) {
			for _, id := range g.ids {
				seen[id] = true
			}
		}
	}
	return slices.Collect(maps.Keys(seen))
}

// hints tries every set of the nodes that have devices. reuse has to be in the set. Those are preferred that are as small as they could be on
// an empty machine.
func (a *advertised) hints(all []int, free, reuse []string, want int) []topology.Hint {
	with := map[int]bool{}
	on := func(id string) (out []int) {
		for _, n := range nodesOf(a.devices[id]) {
			out = append(out, int(n))
		}
		return out
	}
	for id := range a.devices {
		for _, n := range on(id) {
			with[n] = true
		}
	}
	nodes := slices.DeleteFunc(slices.Sorted(maps.Keys(with)), func(n int) bool { return !slices.Contains(all, n) })
	if len(nodes) == 0 {
		nodes = all
	}
	least := len(nodes)
	out := []topology.Hint{}
	topology.Subsets(nodes, func(mask topology.Mask) {
		inside := 0
		for id := range a.devices {
			if mask.HasAny(on(id)) {
				inside++
			}
		}
		if inside >= want && mask.Count() < least {
			least = mask.Count()
		}
		n := 0
		for _, id := range reuse {
			if len(on(id)) == 0 {
				continue
			}
			if !mask.HasAny(on(id)) {
				return
			}
			n++
		}
		for _, id := range free {
			if mask.HasAny(on(id)) {
				n++
			}
		}
		if n >= want {
			out = append(out, topology.Hint{Nodes: mask})
		}
	})
	for i := range out {
		out[i].Preferred = out[i].Nodes.Count() == least
	}
	return out
}
