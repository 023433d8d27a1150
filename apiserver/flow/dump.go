package flow

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	flowcontrol "k8s.io/api/flowcontrol/v1"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
)

// entry is a request that waits or runs, for those who want to see them.
type entry struct {
	schema         *schema
	asked          Request
	work           Work
	arrived, began float64
	queue          *queue
	next, prev     *entry // in the roll of its level, while it runs
}

// roll is the requests that run.
type roll struct{ first *entry }

func (r *roll) add(e *entry) {
	if e.next = r.first; e.next != nil {
		e.next.prev = e
	}
	r.first = e
}

func (r *roll) remove(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		r.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	}
	e.next, e.prev = nil, nil
}

// flowOf is what tells the flows of a schema apart.
func (e *entry) flowOf() string {
	switch e.schema.by {
	case flowcontrol.FlowDistinguisherMethodByUserType:
		return e.asked.User
	case flowcontrol.FlowDistinguisherMethodByNamespaceType:
		return e.asked.Namespace
	}
	return ""
}

// byName is the levels there are, by name.
func (s *Sharer) byName() []*level {
	out := slices.Clone(s.now.Load().levels)
	slices.SortFunc(out, func(a, b *level) int { return strings.Compare(a.name, b.name) })
	return out
}

// table is a table as Kubernetes prints them: commas, and columns that stand below one another.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, heads ...string) table {
	t := table{tabwriter.NewWriter(w, 8, 0, 1, ' ', 0)}
	t.row(heads...)
	return t
}

func (t table) row(cells ...string) {
	_, _ = io.WriteString(t.w, strings.Join(cells, ",\t")+"\n") // the client is gone: nobody to tell
}

// DumpLevels writes a table of the priority levels.
func (s *Sharer) DumpLevels(w io.Writer) {
	t := newTable(w, "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests", "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests")
	defer t.w.Flush()
	for _, l := range s.byName() {
		l.mu.Lock()
		active := 0
		for _, q := range l.queues {
			if q != nil && q.length > 0 {
				active++
			}
		}
		running, started := int64(l.running), int64(l.started)
		if l.exempt {
			running, started = s.exempt.running.Load(), s.exempt.started.Load()
		}
		cells := []string{l.name, strconv.Itoa(active), strconv.FormatBool(running == 0 && l.waiting == 0), "false"}
		for _, n := range []int64{int64(l.waiting), running, started, int64(l.rejected[fullQueue] + l.rejected[noSeats]), int64(l.rejected[tooLate] - l.cancelled), int64(l.cancelled)} {
			cells = append(cells, strconv.FormatInt(n, 10))
		}
		l.mu.Unlock()
		t.row(cells...)
	}
}

// DumpQueues writes a table of the queues of all levels.
func (s *Sharer) DumpQueues(w io.Writer) {
	t := newTable(w, "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR", "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum")
	defer t.w.Flush()
	seatSeconds := func(f float64) string { return fmt.Sprintf("%.8fss", f) }
	for _, l := range s.byName() {
		var rows [][]string
		l.mu.Lock()
		for i, q := range l.queues {
			if q == nil { // never used
				q = &queue{}
			}
			initial := 0
			for e := q.first; e != nil; e = e.next {
				initial += e.work.Seats
			}
			rows = append(rows, []string{l.name, strconv.Itoa(i), strconv.Itoa(q.length), strconv.Itoa(q.running), strconv.Itoa(q.seats), seatSeconds(q.next), strconv.Itoa(initial), strconv.Itoa(q.wanted), seatSeconds(q.work)})
		}
		l.mu.Unlock()
		for _, r := range rows {
			t.row(r...)
		}
	}
}

// DumpRequests writes a table of the requests that wait or run, with what they ask for if details is set.
func (s *Sharer) DumpRequests(w io.Writer, details bool) {
	heads := []string{"PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime", "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime"}
	if details {
		heads = append(heads, "UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")
	}
	t := newTable(w, heads...)
	defer t.w.Flush()
	for _, l := range s.byName() {
		for _, r := range s.requestsOf(l, details) {
			t.row(r...)
		}
	}
}

// requestsOf is a row for each request of a level: those who wait by their queues, then those who run.
func (s *Sharer) requestsOf(l *level, details bool) (rows [][]string) {
	at := func(seconds float64) string {
		return s.epoch.Add(time.Duration(seconds * float64(time.Second))).UTC().Format(time.RFC3339Nano)
	}
	add := func(e *entry, queue, place int) {
		began := time.Time{}.Format(time.RFC3339Nano)
		if place < 0 {
			began = at(e.began)
		}
		row := []string{l.name, e.schema.name, strconv.Itoa(queue), strconv.Itoa(place), e.flowOf(), at(e.arrived), strconv.Itoa(e.work.Seats), strconv.Itoa(e.work.Extra), e.work.Linger.String(), began}
		if a := &e.asked; details {
			version := runtimeschema.GroupVersion{Group: a.Group, Version: a.Version}
			row = append(row, a.User, a.Verb, a.Path, a.Namespace, a.Object, version.String(), a.Name, a.Sub)
		}
		rows = append(rows, row)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, q := range l.queues {
		if q == nil {
			continue
		}
		place := 0
		for w := q.first; w != nil; w = w.next {
			if w.entry != nil {
				add(w.entry, i, place)
			}
			place++
		}
	}
	for e := l.roll.first; e != nil; e = e.next {
		add(e, slices.Index(l.queues, e.queue), -1)
	}
	return rows
}
