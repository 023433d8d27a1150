package cpu

import (
	"strconv"
	"sync/atomic"

	"k8s.io/utils/cpuset"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/topology"
)

// counts is what was asked for and refused.
type counts struct{ asked, refused atomic.Int64 }

// note takes the outcome of one Allocate.
func (m *Manager) note(err error) {
	m.counts.asked.Add(1)
	if err != nil {
		m.counts.refused.Add(1)
	}
}

// Page writes what is given away and what is shared.
func (m *Manager) Page(p *prom.Page) {
	if m.Policy != Static {
		return
	}
	p.Counter("kubelet_cpu_manager_pinning_requests_total", "[ALPHA] Containers that asked for CPUs of their own.", m.counts.asked.Load())
	p.Counter("kubelet_cpu_manager_pinning_errors_total", "[ALPHA] Containers that did not get them.", m.counts.refused.Load())
	m.mu.Lock()
	free, own := m.shared.Difference(m.reserved), cpuset.New()
	for uid := range m.given {
		own = own.Union(m.of(uid))
	}
	m.mu.Unlock()
	p.Gauge("kubelet_cpu_manager_shared_pool_size_millicores", "[ALPHA] Thousandths of CPUs that can still be given.", float64(free.Size()*1000))
	p.Gauge("kubelet_cpu_manager_exclusive_cpu_allocation_count", "[ALPHA] CPUs that containers have for themselves.", float64(own.Size()))
	p.Head("kubelet_cpu_manager_allocation_per_numa", "gauge", "[ALPHA] The same by NUMA node.")
	for _, n := range m.Machine.NodeIDs() {
		on := m.Machine.Where(func(c topology.CPU) bool { return c.Node == n })
		p.Value(prom.Labels("numa_node", strconv.Itoa(n)), float64(own.Intersection(on).Size()))
	}
}

// ByCores says whether containers get whole cores only.
func (m *Manager) ByCores() bool { return m.Policy == Static && m.opt.wholeCores }
