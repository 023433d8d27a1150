package probe

import (
	"cmp"
	"slices"
	"time"

	"proa.dev/kit/prom"
)

// durations are the buckets of Prometheus' own clients.
var durations = prom.Seconds(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)

// count notes one result. p.mu is held.
func (b *probe) count(ok bool, took time.Duration) {
	if ok {
		b.counts[1]++
		b.took.Add(int64(took))
	} else {
		b.counts[0]++
	}
}

// series is the results of one probe of one instance.
type series struct {
	labels string
	counts [2]int64
	took   *prom.Histogram
	short  string // without what tells instances of a name apart
}

// Page counts the results of the probes that there are now. A new instance of a container begins anew.
func (p *Prober) Page() *prom.Page {
	p.mu.Lock()
	var all []series
	for _, c := range p.live {
		for _, b := range c.probes {
			name := title(b.kind)
			all = append(all, series{
				labels: prom.Labels("container", c.Container.Name, "namespace", c.Pod.Namespace, "pod", c.Pod.Name, "pod_uid", string(c.Pod.UID), "probe_type", name),
				counts: b.counts, took: b.took,
				short: prom.Labels("container", c.Container.Name, "namespace", c.Pod.Namespace, "pod", c.Pod.Name, "probe_type", name),
			})
		}
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b series) int { return cmp.Compare(a.labels, b.labels) })
	out := &prom.Page{}
	out.Head("prober_probe_total", "counter", "[BETA] Probes of containers, by their result.")
	for _, s := range all {
		for i, result := range []string{"failed", "successful"} {
			if s.counts[i] > 0 {
				out.Value(s.labels+","+prom.Labels("result", result), float64(s.counts[i]))
			}
		}
	}
	out.Head("prober_probe_duration_seconds", "histogram", "[ALPHA] How long probes took that succeeded.")
	last := ""
	for _, s := range all {
		if s.short != last { // an instance on its way out has the same name
			out.Histogram(s.short, s.took)
		}
		last = s.short
	}
	return out
}
