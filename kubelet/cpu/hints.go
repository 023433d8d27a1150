package cpu

import (
	core "k8s.io/api/core/v1"
	"k8s.io/utils/cpuset"

	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/topology"
)

// Hints says from which nodes the CPUs of a container, or of a pod as a whole (c is nil), could come.
func (m *Manager) Hints(pod *core.Pod, c *core.Container) topology.Hints {
	if m.Policy != Static {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	free, reuse := m.shared.Difference(m.reserved), m.reusable(pod)
	if c == nil {
		return m.podHints(pod, free, reuse)
	}
	want := Whole(pod, c)
	if want == 0 {
		return nil
	}
	if have, ok := m.given[pod.UID][c.Name]; ok {
		if have.Size() != want {
			return topology.Hints{"cpu": {}}
		}
		return topology.Hints{"cpu": m.hints(have, cpuset.New(), want)}
	}
	return topology.Hints{"cpu": m.hints(free, reuse, want)}
}

func (m *Manager) podHints(pod *core.Pod, free, reuse cpuset.CPUSet) topology.Hints {
	want := wholePod(pod)
	if want == 0 {
		return nil
	}
	have := cpuset.New()
	for _, list := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for j := range list {
			set, ok := m.given[pod.UID][list[j].Name]
			if ok && set.Size() != Whole(pod, &list[j]) {
				return topology.Hints{"cpu": {}}
			}
			have = have.Union(set)
		}
	}
	if have.Size() == want {
		return topology.Hints{"cpu": m.hints(have, cpuset.New(), want)}
	}
	return topology.Hints{"cpu": m.hints(free, reuse.Union(have), want)}
}

// wholePod is how many CPUs the containers of a pod have for themselves at one time.
func wholePod(pod *core.Pod) int {
	most, sidecars, sum := 0, 0, 0
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if spec.Sidecar(c) {
			sidecars += Whole(pod, c)
		} else {
			most = max(most, sidecars+Whole(pod, c))
		}
	}
	for i := range pod.Spec.Containers {
		sum += Whole(pod, &pod.Spec.Containers[i])
	}
	return max(most, sum+sidecars)
}

// hints tries every set of nodes. reuse has to be in it. Those are preferred that are as small as they could be on an empty machine.
func (m *Manager) hints(free, reuse cpuset.CPUSet, want int) []topology.Hint {
	all := m.Machine.NodeIDs()
	least := len(all)
	out := []topology.Hint{}
	topology.Subsets(all, func(mask topology.Mask) {
		on := m.Machine.Where(func(c topology.CPU) bool { return mask.Has(c.Node) })
		if on.Size() >= want && mask.Count() < least {
			least = mask.Count()
		}
		if reuse.IsSubsetOf(on) && reuse.Size()+free.Difference(reuse).Intersection(on).Size() >= want {
			out = append(out, topology.Hint{Nodes: mask})
		}
	})
	for i := range out {
		out[i].Preferred = out[i].Nodes.Count() == least || m.opt.bySocket && m.alignedBySocket(out[i].Nodes, least)
	}
	return out
}

// alignedBySocket says whether nodes span as few sockets as least nodes could.
func (m *Manager) alignedBySocket(nodes topology.Mask, least int) bool {
	perSocket := len(m.Machine.Nodes) / max(m.Machine.Count(m.Machine.All(), bySocket), 1)
	if perSocket == 0 {
		return false
	}
	on := m.Machine.Where(func(c topology.CPU) bool { return nodes.Has(c.Node) })
	return m.Machine.Count(on, bySocket) == (least+perSocket-1)/perSocket
}
