package topology

import (
	"sync/atomic"
	"time"

	"proa.dev/kit/prom"
)

// Page is what metrics are written on.
type Page = prom.Page

// Counts is what was asked of a policy, and how that went. The zero value is ready.
type Counts struct {
	asked, refused atomic.Int64
	took           prom.Times[prom.None]
	aligned        prom.Counts[[2]string] // by scope and boundary
	unaligned      prom.Counts[[2]string]
}

func admissionScale() *prom.Scale {
	return prom.Milliseconds(.05, .1, .2, .4, .8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6, 819.2)
}

// Admitted notes that a pod was, or was not for an error.
func (c *Counts) Admitted(began time.Time, no error) {
	c.asked.Add(1)
	if no != nil {
		c.refused.Add(1)
	}
	c.took.Add(admissionScale, prom.None{}, int64(time.Since(began)))
}

// Together notes whether what a container or a pod got lies as near together as it has to.
func (c *Counts) Together(scope, boundary string, yes bool) {
	if yes {
		c.aligned.Add([2]string{scope, boundary}, 1)
	} else {
		c.unaligned.Add([2]string{scope, boundary}, 1)
	}
}

// Page writes them; without a policy there is nothing to say of pods.
func (c *Counts) Page(p *Page, policy Policy) {
	labels := [2]string{"scope", "boundary"}
	c.aligned.Page(p, "kubelet_container_aligned_compute_resources_count", "[ALPHA] How often what was given lies together.", labels)
	c.unaligned.Page(p, "kubelet_container_aligned_compute_resources_failure_count", "[ALPHA] How often it could not.", labels)
	if policy.Name == None {
		return
	}
	p.Counter("kubelet_topology_manager_admission_requests_total", "[ALPHA] Pods whose parts have to lie together.", c.asked.Load())
	p.Counter("kubelet_topology_manager_admission_errors_total", "[ALPHA] Pods that were refused for it.", c.refused.Load())
	c.took.Page(p, "kubelet_topology_manager_admission_duration_ms", "[ALPHA] How long it took to decide that, in milliseconds.", prom.None{})
}
