package upkeep

import (
	"time"

	"proa.dev/kit/prom"
)

// Page writes when the machine last went down under the kubelet.
func (u *Upkeep) Page(p *prom.Page) {
	seconds := func(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
	began, end := u.end.Times()
	p.Head("kubelet_graceful_shutdown_start_time_seconds", "gauge", "[ALPHA] When the last shutdown of the machine began, in seconds since 1970; 0: never.")
	p.Value("", seconds(began))
	p.Head("kubelet_graceful_shutdown_end_time_seconds", "gauge", "[ALPHA] When its pods had ended, in seconds since 1970; 0: not yet.")
	p.Value("", seconds(end))
	u.evict.Page(p)
	u.images.Page(p)
	if u.qos != nil {
		u.qos.Page(p)
	}
}
