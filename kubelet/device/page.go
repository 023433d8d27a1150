package device

import (
	"time"

	"proa.dev/kit/prom"
)

// counts is by resource.
type counts struct {
	registered prom.Counts[[1]string]
	allocated  prom.Times[[1]string]
}

func (c *counts) asked(resource string, began time.Time) {
	c.allocated.Add(prom.Usual, [1]string{resource}, int64(time.Since(began)))
}

// Page writes what plugins did.
func (m *Manager) Page(p *prom.Page) {
	m.counts.registered.Page(p, "kubelet_device_plugin_registration_total", "[ALPHA] Registrations of device plugins.", [1]string{"resource_name"})
	m.counts.allocated.Page(p, "kubelet_device_plugin_alloc_duration_seconds", "[ALPHA] How long a plugin took to hand devices out.", [1]string{"resource_name"})
}
