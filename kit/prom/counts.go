package prom

import (
	"cmp"
	"sync/atomic"
)

// Values are those of a series' labels, in the order of the names that Page is given.
type Values interface {
	~[0]string | ~[1]string | ~[2]string | ~[3]string | ~[4]string
	comparable
}

// None are the values of a series without labels.
type None = [0]string

// Counts is a counter with labels. The zero value is ready, and takes no memory before something is counted. Series are never forgotten:
// see Vec.
type Counts[K Values] struct{ series Vec[K, atomic.Int64] }

// Add counts n of k. With n = 0 the series is shown from then on.
func (c *Counts[K]) Add(k K, n int64) { c.series.Get(k, nil).Add(n) }

// Page writes the counter, unless nothing was counted.
func (c *Counts[K]) Page(p *Page, name, help string, labels K) {
	c.PageAs(p, "counter", name, help, labels)
}

// PageAs writes it as another type: what was counted anew for the page is a "gauge".
func (c *Counts[K]) PageAs(p *Page, kind, name, help string, labels K) {
	head := headOnce(p, name, kind, help)
	c.series.Each(order[K], func(k K, n *atomic.Int64) {
		head()
		p.Value(pairs(labels, k), float64(n.Load()))
	})
}

// Times is a histogram with labels, by the scale that is made for the first value. The zero value is ready, as with Counts.
type Times[K Values] struct{ series Vec[K, Histogram] }

// Add counts a value of k: see Histogram.
func (t *Times[K]) Add(scale func() *Scale, k K, n int64) {
	t.series.Get(k, func() *Histogram { return scale().New() }).Add(n)
}

// Page writes the histogram, unless nothing was counted.
func (t *Times[K]) Page(p *Page, name, help string, labels K) {
	head := headOnce(p, name, "histogram", help)
	t.series.Each(order[K], func(k K, h *Histogram) {
		head()
		p.Histogram(pairs(labels, k), h)
	})
}

// Counter writes a counter without labels.
func (p *Page) Counter(name, help string, n int64) {
	p.Head(name, "counter", help)
	p.Value("", float64(n))
}

// Gauge writes a gauge without labels.
func (p *Page) Gauge(name, help string, v float64) {
	p.Head(name, "gauge", help)
	p.Value("", v)
}

// Usual is the scale of durations that Prometheus has where nothing else is said.
func Usual() *Scale { return Seconds(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10) }

func headOnce(p *Page, name, kind, help string) func() {
	told := false
	return func() {
		if !told {
			p.Head(name, kind, help)
			told = true
		}
	}
}

func order[K Values](a, b K) int {
	for i := 0; i < len(a); i++ {
		if d := cmp.Compare(a[i], b[i]); d != 0 {
			return d
		}
	}
	return 0
}

func pairs[K Values](names, values K) string {
	list := make([]string, 0, 8)
	for i := 0; i < len(names); i++ {
		list = append(list, names[i], values[i])
	}
	return Labels(list...)
}
