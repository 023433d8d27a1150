package prom

import (
	"strings"
	"testing"
	"time"
)

func TestCounts(t *testing.T) {
	var c Counts[[2]string]
	var plain Counts[None]
	var times Times[[1]string]
	var p Page
	c.Page(&p, "a_total", "Things.", [2]string{"x", "y"})
	times.Page(&p, "t_seconds", "Times.", [1]string{"x"})
	if p.Len() > 0 {
		t.Errorf("what counted nothing shows %s", &p)
	}
	c.Add([2]string{"2", "b"}, 1)
	c.Add([2]string{"1", "z"}, 0)
	c.Add([2]string{"2", "a"}, 2)
	c.Add([2]string{"2", "b"}, 1)
	plain.Add(None{}, 3)
	times.Add(func() *Scale { return Seconds(1) }, [1]string{"q"}, int64(time.Second/2))
	times.Add(func() *Scale { t.Error("a second scale is made"); return nil }, [1]string{"q"}, int64(time.Second*2))
	c.Page(&p, "a_total", "Things.", [2]string{"x", "y"})
	plain.Page(&p, "b_total", "Others.", None{})
	times.Page(&p, "t_seconds", "Times.", [1]string{"x"})
	p.Counter("c_total", "More.", 4)
	p.Gauge("g", "Level.", .5)
	want := strings.Join([]string{
		"# HELP a_total Things.", "# TYPE a_total counter", `a_total{x="1",y="z"} 0`, `a_total{x="2",y="a"} 2`, `a_total{x="2",y="b"} 2`,
		"# HELP b_total Others.", "# TYPE b_total counter", "b_total 3",
		"# HELP t_seconds Times.", "# TYPE t_seconds histogram",
		`t_seconds_bucket{x="q",le="1"} 1`, `t_seconds_bucket{x="q",le="+Inf"} 2`, `t_seconds_sum{x="q"} 2.5`, `t_seconds_count{x="q"} 2`,
		"# HELP c_total More.", "# TYPE c_total counter", "c_total 4", "# HELP g Level.", "# TYPE g gauge", "g 0.5", ""}, "\n")
	if got := p.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if n := testing.AllocsPerRun(100, func() { c.Add([2]string{"2", "a"}, 1) }); n != 0 {
		t.Errorf("counting takes %v allocations", n)
	}
}
