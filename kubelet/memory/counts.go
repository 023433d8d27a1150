package memory

import (
	"sync/atomic"

	"proa.dev/kit/prom"
)

// counts is what was asked for and refused.
type counts struct{ asked, refused atomic.Int64 }

func (m *Manager) note(err error) {
	m.counts.asked.Add(1)
	if err != nil {
		m.counts.refused.Add(1)
	}
}

// Page writes them.
func (m *Manager) Page(p *prom.Page) {
	if m.Policy != Static {
		return
	}
	p.Counter("kubelet_memory_manager_pinning_requests_total", "[ALPHA] Containers that asked for memory of certain NUMA nodes.", m.counts.asked.Load())
	p.Counter("kubelet_memory_manager_pinning_errors_total", "[ALPHA] Containers that did not get it.", m.counts.refused.Load())
}
