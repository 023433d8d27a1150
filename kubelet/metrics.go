package kubelet

import (
	"sync/atomic"
	"time"

	"proa.dev/kit/prom"
)

// metrics are what the parts of the kubelet have for its page.
func (k *Kubelet) metrics() []func(*prom.Page) {
	pages := []func(*prom.Page){
		k.calls.Page, k.status.Page, k.relists.page, k.upkeep.Page, k.pods.Page, k.pods.Puller().Page, k.volumes.Page, k.node.Page,
	}
	if k.deps.Resources != nil {
		pages = append(pages, k.deps.Resources.Page)
	}
	return pages
}

// relists are the times at which all containers were read anew, since the runtime's events had ended.
type relists struct {
	took, between atomic.Pointer[prom.Histogram]
	last          atomic.Int64 // ns since 1970; 0: there was none
}

func (r *relists) add(began time.Time) {
	histogram(&r.took).Add(int64(time.Since(began)))
	if before := r.last.Swap(began.UnixNano()); before != 0 {
		histogram(&r.between).Add(began.UnixNano() - before)
	}
}

func histogram(p *atomic.Pointer[prom.Histogram]) *prom.Histogram {
	if h := p.Load(); h != nil {
		return h
	}
	p.CompareAndSwap(nil, prom.Usual().New())
	return p.Load()
}

func (r *relists) page(p *prom.Page) {
	p.Head("kubelet_pleg_relist_duration_seconds", "histogram", "[ALPHA] How long it took to read all containers anew, which is done where there are no events.")
	p.Histogram("", r.took.Load())
	p.Head("kubelet_pleg_relist_interval_seconds", "histogram", "[ALPHA] The time between two such readings.")
	p.Histogram("", r.between.Load())
	if last := r.last.Load(); last != 0 {
		p.Head("kubelet_pleg_last_seen_seconds", "gauge", "[ALPHA] When that was last done, in seconds since 1970.")
		p.Value("", float64(last)/1e9)
	}
}
