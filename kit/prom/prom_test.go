package prom

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPage(t *testing.T) {
	h := Seconds(0.005, 1).New()
	for _, d := range []time.Duration{time.Millisecond, 5 * time.Millisecond, 6 * time.Millisecond, 2 * time.Second} {
		h.Add(int64(d))
	}
	var p Page
	p.Head("a_total", "counter", "Things.")
	p.Value("", 3)
	p.Value(Labels("x", "say \"hi\"\\\n", "y", ""), 0.5)
	p.Head("b_seconds", "histogram", "Times.")
	p.Histogram(`x="1"`, h)
	p.Histogram(`x="2"`, Plain(1).New())
	want := strings.Join([]string{
		"# HELP a_total Things.", "# TYPE a_total counter", "a_total 3", `a_total{x="say \"hi\"\\\n",y=""} 0.5`,
		"# HELP b_seconds Times.", "# TYPE b_seconds histogram",
		`b_seconds_bucket{x="1",le="0.005"} 2`, `b_seconds_bucket{x="1",le="1"} 3`, `b_seconds_bucket{x="1",le="+Inf"} 4`,
		`b_seconds_sum{x="1"} 2.012`, `b_seconds_count{x="1"} 4`, ""}, "\n")
	if got := p.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestVec(t *testing.T) {
	var v Vec[string, atomic.Int64]
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				v.Get(string(rune('a'+i%26)), nil).Add(1)
			}
		})
	}
	wg.Wait()
	var names strings.Builder
	var sum int64
	v.Each(strings.Compare, func(k string, n *atomic.Int64) {
		names.WriteString(k)
		sum += n.Load()
	})
	if names.String() != "abcdefghijklmnopqrstuvwxyz" || sum != 800 {
		t.Errorf("got %s, %d", &names, sum)
	}
	if n := testing.AllocsPerRun(100, func() { v.Get("a", nil).Add(1) }); n != 0 {
		t.Errorf("a series is found with %v allocations", n)
	}
}
