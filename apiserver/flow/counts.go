package flow

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// waits are the upper ends of the buckets of waiting times, in seconds.
var waits = [...]float64{0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30}

// counts is what a schema has seen. It is shared by all schemas that an object has been.
type counts struct{ *numbers }

type numbers struct {
	running, waiting, started atomic.Int64
	refused                   [3]atomic.Int64
	waited                    [len(waits) + 1]atomic.Int64
	waitedFor                 atomic.Int64 // nanoseconds
}

func newCounts() counts { return counts{new(numbers)} }

// began notes a request that is let in after some seconds.
func (c counts) began(after float64) {
	c.running.Add(1)
	c.started.Add(1)
	i := 0
	for i < len(waits) && after > waits[i] {
		i++
	}
	c.waited[i].Add(1)
	c.waitedFor.Add(int64(after * float64(time.Second)))
}

// levelCounts is a level's numbers at one time.
type levelCounts struct {
	name                                   string
	limit, nominal, seats, running, queued int
	least, most                            int
}

// WriteMetrics writes what has happened in Prometheus' text format, with the names that Kubernetes has.
func (s *Sharer) WriteMetrics(w io.Writer) {
	n := s.now.Load()
	levels := make([]levelCounts, len(n.levels))
	for i, l := range n.levels {
		l.mu.Lock()
		levels[i] = levelCounts{l.name, l.limit, l.nominal, l.seats, l.running, l.waiting, n.parts[i].least, n.parts[i].most}
		l.mu.Unlock()
		if l.exempt {
			levels[i].running = int(s.exempt.running.Load())
			levels[i].seats = levels[i].running
		}
	}
	slices.SortFunc(levels, func(a, b levelCounts) int { return strings.Compare(a.name, b.name) })
	const pre = "apiserver_flowcontrol_"
	head := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP %s%s %s\n# TYPE %s%s %s\n", pre, name, help, pre, name, kind)
	}
	perLevel := func(name, kind, help string, of func(levelCounts) int) {
		head(name, kind, help)
		for _, l := range levels {
			fmt.Fprintf(w, "%s%s{priority_level=%q} %d\n", pre, name, l.name, of(l))
		}
	}
	perLevel("nominal_limit_seats", "gauge", "Seats of a priority level by its shares.", func(l levelCounts) int { return l.nominal })
	perLevel("lower_limit_seats", "gauge", "Seats that a priority level does not lend.", func(l levelCounts) int { return l.least })
	perLevel("upper_limit_seats", "gauge", "Seats that a priority level may have by borrowing.", func(l levelCounts) int { return l.most })
	perLevel("current_limit_seats", "gauge", "Seats of a priority level now.", func(l levelCounts) int { return l.limit })
	perSchema := func(name, kind, help, more string, of func(counts) int64) {
		head(name, kind, help)
		for _, c := range n.schemas {
			fmt.Fprintf(w, "%s%s{flow_schema=%q,priority_level=%q%s} %d\n", pre, name, c.name, c.level.name, more, of(c.counts))
		}
	}
	perSchema("dispatched_requests_total", "counter", "Requests that were let in.", "", func(c counts) int64 { return c.started.Load() })
	perSchema("current_executing_requests", "gauge", "Requests that run.", "", func(c counts) int64 { return c.running.Load() })
	perSchema("current_inqueue_requests", "gauge", "Requests in queues.", "", func(c counts) int64 { return c.waiting.Load() })
	perLevel("current_executing_seats", "gauge", "Seats in use.", func(l levelCounts) int { return l.seats })
	head("rejected_requests_total", "counter", "Requests that were refused, and why.")
	for _, c := range n.schemas {
		for i, why := range reasons {
			if v := c.counts.refused[i].Load(); v > 0 {
				fmt.Fprintf(w, "%srejected_requests_total{flow_schema=%q,priority_level=%q,reason=%q} %d\n", pre, c.name, c.level.name, why, v)
			}
		}
	}
	head("request_wait_duration_seconds", "histogram", "How long requests that were let in had waited.")
	for _, c := range n.schemas {
		labels, sum := fmt.Sprintf("execute=\"true\",flow_schema=%q,priority_level=%q", c.name, c.level.name), int64(0)
		for i, bound := range waits {
			sum += c.counts.waited[i].Load()
			fmt.Fprintf(w, "%srequest_wait_duration_seconds_bucket{%s,le=\"%g\"} %d\n", pre, labels, bound, sum)
		}
		sum += c.counts.waited[len(waits)].Load()
		fmt.Fprintf(w, "%srequest_wait_duration_seconds_bucket{%s,le=\"+Inf\"} %d\n", pre, labels, sum)
		fmt.Fprintf(w, "%srequest_wait_duration_seconds_sum{%s} %g\n", pre, labels, time.Duration(c.counts.waitedFor.Load()).Seconds())
		fmt.Fprintf(w, "%srequest_wait_duration_seconds_count{%s} %d\n", pre, labels, sum)
	}
}
