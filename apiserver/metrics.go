package apiserver

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"proa.dev/apiserver/authz"
	"proa.dev/store"
)

// bounds are the upper ends of the histogram's buckets, in seconds.
var bounds = [...]float64{0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60}

// histogram counts durations.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Int64
	nanos   atomic.Int64
}

func (h *histogram) add(d time.Duration) {
	i := sort.SearchFloat64s(bounds[:], d.Seconds())
	h.buckets[i].Add(1)
	h.nanos.Add(int64(d))
}

// label is one line of request metrics.
type label struct {
	verb, group, version, resource, sub string
	code                                int
}

// metrics is what /metrics tells. Prometheus' text format is written by hand: the client library is larger than this.
type metrics struct {
	requests  sync.Map // label -> *atomic.Int64
	durations sync.Map // label without code -> *histogram
	long      sync.Map // label without code -> *atomic.Int64: watches and streams that are open
	store     sync.Map // operation -> *histogram
	panics    atomic.Int64
	reading   atomic.Int64 // requests under way
	writing   atomic.Int64
}

func newMetrics() *metrics { return &metrics{} }

func get[V any](m *sync.Map, k any) *V {
	if v, ok := m.Load(k); ok {
		return v.(*V)
	}
	v, _ := m.LoadOrStore(k, new(V))
	return v.(*V)
}

// labelOf is the line that a request belongs to. Names of unknown resources are left out: clients choose them.
func labelOf(q *request) label {
	l := label{verb: q.verb}
	if q.served != nil {
		l.group, l.version, l.resource = q.target.Group, q.target.Version, q.target.Resource.Resource
		if q.target.Sub != "" && q.sub() != nil {
			l.sub = q.target.Sub
		}
	}
	switch l.verb {
	case "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "post", "put", "head", "options":
	default:
		l.verb = "other"
	}
	return l
}

// open counts a long request as long as it lasts.
func (m *metrics) open(q *request) (closed func()) {
	n := get[atomic.Int64](&m.long, labelOf(q))
	n.Add(1)
	return func() { n.Add(-1) }
}

func (m *metrics) done(q *request, took time.Duration) {
	l := labelOf(q)
	if !q.long() {
		get[histogram](&m.durations, l).add(took)
	}
	l.code = q.code
	get[atomic.Int64](&m.requests, l).Add(1)
}

// call counts a request without a wire.
func (m *metrics) call(a authz.Attributes, code int, took time.Duration) {
	l := label{verb: a.Verb, group: a.Group, version: a.Version, resource: a.Resource, sub: a.Sub}
	get[histogram](&m.durations, l).add(took)
	l.code = code
	get[atomic.Int64](&m.requests, l).Add(1)
}

func (l label) String() string {
	s := fmt.Sprintf(`verb=%q,group=%q,version=%q,resource=%q,subresource=%q`, l.verb, l.group, l.version, l.resource, l.sub)
	if l.code != 0 {
		s += fmt.Sprintf(`,code="%d"`, l.code)
	}
	return s
}

// metricsType is the content type of Prometheus' text format.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// metricsPage answers /metrics.
func (s *Server) metricsPage(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	head := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	head("apiserver_request_total", "counter", "Requests by what they asked for and how they were answered.")
	each(&s.metrics.requests, func(k label, v *atomic.Int64) { fmt.Fprintf(&b, "apiserver_request_total{%s} %d\n", k, v.Load()) })
	head("apiserver_request_duration_seconds", "histogram", "How long requests took, without watches and streams.")
	each(&s.metrics.durations, func(k label, v *histogram) { v.write(&b, "apiserver_request_duration_seconds", k.String()) })
	head("apiserver_longrunning_requests", "gauge", "Open watches and streams.")
	each(&s.metrics.long, func(k label, v *atomic.Int64) {
		fmt.Fprintf(&b, "apiserver_longrunning_requests{%s} %d\n", k, v.Load())
	})
	head("etcd_request_duration_seconds", "histogram", "How long operations of the store took.")
	each(&s.metrics.store, func(k string, v *histogram) {
		v.write(&b, "etcd_request_duration_seconds", fmt.Sprintf("operation=%q", k))
	})
	head("apiserver_storage_objects", "gauge", "Stored objects by resource.")
	for _, sh := range s.cache.Shelves() {
		fmt.Fprintf(&b, "apiserver_storage_objects{resource=%q} %d\n", sh.Kind.GroupVersionResource.GroupResource(), sh.Len())
	}
	head("apiserver_current_inflight_requests", "gauge", "Requests under way, without watches and streams.")
	fmt.Fprintf(&b, "apiserver_current_inflight_requests{request_kind=\"mutating\"} %d\napiserver_current_inflight_requests{request_kind=\"readOnly\"} %d\n",
		s.metrics.writing.Load(), s.metrics.reading.Load())
	s.flow.WriteMetrics(&b)
	head("apiserver_request_panics_total", "counter", "Requests answered with 500 because of a panic.")
	fmt.Fprintf(&b, "apiserver_request_panics_total %d\n", s.metrics.panics.Load())
	head("go_goroutines", "gauge", "Goroutines.")
	fmt.Fprintf(&b, "go_goroutines %d\n", runtime.NumGoroutine())
	w.Header().Set("Content-Type", metricsType)
	_, _ = w.Write(b.Bytes()) // the client is gone: nobody to tell
}

// each calls fn for every entry, in the order of the keys' text.
func each[K comparable, V any](m *sync.Map, fn func(K, *V)) {
	var keys []K
	m.Range(func(k, _ any) bool { keys = append(keys, k.(K)); return true })
	slices.SortFunc(keys, func(a, b K) int { return bytes.Compare([]byte(fmt.Sprint(a)), []byte(fmt.Sprint(b))) })
	for _, k := range keys {
		if v, ok := m.Load(k); ok {
			fn(k, v.(*V))
		}
	}
}

func (h *histogram) write(b *bytes.Buffer, name, labels string) {
	var sum int64
	for i, bound := range bounds {
		sum += h.buckets[i].Load()
		fmt.Fprintf(b, "%s_bucket{%s,le=\"%g\"} %d\n", name, labels, bound, sum)
	}
	sum += h.buckets[len(bounds)].Load()
	fmt.Fprintf(b, "%s_bucket{%s,le=\"+Inf\"} %d\n", name, labels, sum)
	fmt.Fprintf(b, "%s_sum{%s} %g\n%s_count{%s} %d\n", name, labels, time.Duration(h.nanos.Load()).Seconds(), name, labels, sum)
}

// timed is st with its operations measured.
func timed(st store.Store, m *metrics) store.Store { return timedStore{st, m} }

type timedStore struct {
	store.Store
	m *metrics
}

func (t timedStore) measure(op string, began time.Time) {
	get[histogram](&t.m.store, op).add(time.Since(began))
}

func (t timedStore) Get(ctx context.Context, key string) (store.KV, error) {
	defer t.measure("get", time.Now())
	return t.Store.Get(ctx, key)
}

func (t timedStore) List(ctx context.Context, prefix string, opt store.ListOptions) (store.Page, error) {
	defer t.measure("list", time.Now())
	return t.Store.List(ctx, prefix, opt)
}

func (t timedStore) Apply(ctx context.Context, w store.Write) (int64, error) {
	op := "update"
	if w.Delete {
		op = "delete"
	} else if w.If == store.Absent {
		op = "create"
	}
	defer t.measure(op, time.Now())
	return t.Store.Apply(ctx, w)
}

// Stale implements store.Staler.
func (t timedStore) Stale(ctx context.Context, key string) (bool, error) {
	if s, ok := t.Store.(store.Staler); ok {
		return s.Stale(ctx, key)
	}
	return false, nil
}
