package resource

import "proa.dev/kubelet/topology"

// Page writes what was given to single pods, and how that went.
func (m *Manager) Page(p *topology.Page) {
	m.devices.Page(p)
	m.claims.Page(p)
	m.cpus.Page(p)
	m.memory.Page(p)
	m.answers.Page(p)
	m.counts.Page(p, m.align)
}
