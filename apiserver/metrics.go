package apiserver

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/authz"
	"proa.dev/kit/prom"
	"proa.dev/store"
)

// scales are the buckets of the histograms, as Kubernetes has them.
type scales struct{ requests, sizes, events, lists *prom.Scale }

// marks are those of requests. Names of unknown resources and paths are left out: clients choose them.
type marks struct {
	verb, group, version, resource, sub, scope, dry string
	component                                       string
}

func (l marks) String() string {
	return prom.Labels("component", l.component, "dry_run", l.dry, "group", l.group, "resource", l.resource, "scope", l.scope, "subresource", l.sub,
		"verb", l.verb, "version", l.version)
}

func (l marks) compare(m marks) int {
	return cmp.Or(cmp.Compare(l.group, m.group), cmp.Compare(l.resource, m.resource), cmp.Compare(l.sub, m.sub), cmp.Compare(l.verb, m.verb),
		cmp.Compare(l.version, m.version), cmp.Compare(l.scope, m.scope), cmp.Compare(l.dry, m.dry), cmp.Compare(l.component, m.component))
}

// series is what is counted of the requests with the same labels.
type series struct {
	codes [24]codeCount
	took  *prom.Histogram
	sizes *prom.Histogram // of answers to reads
	long  atomic.Int64    // watches and streams that are open
}

// codeCount counts the answers with one status code. Its place in the table is taken by whoever comes first.
type codeCount struct{ code, n atomic.Int64 }

func (s *series) answered(code int) {
	for i := range s.codes {
		c := &s.codes[i]
		have := c.code.Load()
		if have == 0 {
			c.code.CompareAndSwap(0, int64(code))
			have = c.code.Load()
		}
		if have == int64(code) {
			c.n.Add(1)
			return
		}
	}
}

// watchSeries is what is counted of the watches of one resource.
type watchSeries struct {
	events atomic.Int64
	sizes  *prom.Histogram
}

// metrics is what /metrics tells of requests and of the store.
type metrics struct {
	scales  scales
	asked   prom.Vec[marks, series]
	watches prom.Vec[schema.GroupVersionResource, watchSeries]
	lists   prom.Vec[marks, prom.Histogram] // how long watches took to tell what there is
	store   prom.Vec[storeOp, prom.Histogram]
	going   prom.Vec[goingKind, atomic.Bool] // asked for, and on its way out
	panics  atomic.Int64
	reading atomic.Int64 // requests under way
	writing atomic.Int64
	started time.Time
}

// goingKind is a kind that is on its way out, and where: "1.40".
type goingKind struct{ group, version, resource, sub, removed string }

func newMetrics() *metrics {
	return &metrics{started: time.Now(), scales: scales{
		requests: prom.Seconds(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60),
		sizes:    prom.Plain(1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9),
		events:   prom.Plain(1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072),
		lists:    prom.Seconds(0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 15, 20, 30, 45, 60),
	}}
}

func (m *metrics) series(l marks) *series {
	return m.asked.Get(l, func() *series { return &series{took: m.scales.requests.New(), sizes: m.scales.sizes.New()} })
}

// of is where a request is counted.
func (m *metrics) of(q *request, r *http.Request) *series {
	if !q.resource {
		return m.series(marks{verb: methodOf(r.Method), sub: knownPath(q.path)})
	}
	l := marks{verb: verbOf(q.verb), component: "apiserver", scope: scopeOf(q.verb, q.target.Namespace, q.target.Name)}
	if q.served != nil {
		l.group, l.version, l.resource = q.target.Group, q.target.Version, q.target.Resource.Resource
		if q.target.Sub != "" && q.sub() != nil {
			l.sub = q.target.Sub
		}
	}
	switch {
	case q.target.Sub != "" && q.long():
		l.verb = "CONNECT"
	case q.verb == "patch" && r.Header.Get("Content-Type") == "application/apply-patch+yaml":
		l.verb = "APPLY"
	}
	if dry := q.query["dryRun"]; len(dry) > 0 {
		if l.dry = "invalid"; len(dry) == 1 && dry[0] == "All" {
			l.dry = "All"
		}
	}
	return m.series(l)
}

// verbOf is a verb of the API as Kubernetes counts it.
func verbOf(verb string) string {
	switch verb {
	case "get", "head":
		return "GET"
	case "list":
		return "LIST"
	case "watch":
		return "WATCH"
	case "create":
		return "POST"
	case "update":
		return "PUT"
	case "patch":
		return "PATCH"
	case "delete", "deletecollection":
		return "DELETE"
	}
	return "other"
}

func methodOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return method
	case http.MethodHead:
		return http.MethodGet
	}
	return "other"
}

func scopeOf(verb, namespace, name string) string {
	switch {
	case name != "" || verb == "create":
		return "resource"
	case namespace != "":
		return "namespace"
	}
	return "cluster"
}

// knownPath is a path by which requests are counted; "" for all others.
func knownPath(path string) string {
	switch path {
	case "/healthz", "/livez", "/readyz", "/version", "/metrics", "/api", "/apis", "/openapi/v2", "/openapi/v3":
		return path
	}
	switch {
	case strings.HasPrefix(path, "/openapi/v3/"):
		return "/openapi/v3"
	case strings.HasPrefix(path, "/apis/"):
		return "/apis"
	}
	return ""
}

// done counts a request that has been answered, with so many bytes.
func (m *metrics) done(q *request, s *series, took time.Duration, size int64) {
	s.answered(q.code)
	if q.long() {
		return
	}
	s.took.Add(int64(took))
	if q.verb == "get" || q.verb == "list" {
		s.sizes.Add(size)
	}
}

// call counts a request without a wire.
func (m *metrics) call(a authz.Attributes, code int, took time.Duration) {
	s := m.series(marks{verb: verbOf(a.Verb), group: a.Group, version: a.Version, resource: a.Resource, sub: a.Sub, component: "apiserver",
		scope: scopeOf(a.Verb, a.Namespace, a.Name)})
	s.took.Add(int64(took))
	s.answered(code)
}

// watched is where the events of watches of a resource are counted.
func (m *metrics) watched(r schema.GroupVersionResource) *watchSeries {
	return m.watches.Get(r, func() *watchSeries { return &watchSeries{sizes: m.scales.events.New()} })
}

// told counts how long a watch took to tell what there is.
func (m *metrics) told(q *request, took time.Duration) {
	l := marks{group: q.target.Group, version: q.target.Version, resource: q.target.Resource.Resource, scope: scopeOf("", q.target.Namespace, q.target.Name)}
	m.lists.Get(l, m.scales.lists.New).Add(int64(took))
}

// timed is st with its operations measured.
func timed(st store.Store, m *metrics) store.Store { return timedStore{st, m} }

type timedStore struct {
	store.Store
	m *metrics
}

// storeOp is an operation on the keys of one resource.
type storeOp struct{ op, storage string }

// measure counts an operation on a key, or on those with a prefix.
func (t timedStore) measure(op, key string, began time.Time) {
	key = strings.TrimPrefix(key, "/registry/")
	first, rest, _ := strings.Cut(key, "/")
	if strings.Contains(first, ".") { // "<group>/<resource>"
		second, _, _ := strings.Cut(rest, "/")
		first = key[:len(first)+1+len(second)]
	}
	h := t.m.store.Get(storeOp{op, first}, func() *prom.Histogram { return t.m.scales.requests.New() })
	h.Add(int64(time.Since(began)))
}

func (t timedStore) Get(ctx context.Context, key string) (store.KV, error) {
	defer t.measure("get", key, time.Now())
	return t.Store.Get(ctx, key)
}

func (t timedStore) List(ctx context.Context, prefix string, opt store.ListOptions) (store.Page, error) {
	defer t.measure("list", prefix, time.Now())
	return t.Store.List(ctx, prefix, opt)
}

func (t timedStore) Apply(ctx context.Context, w store.Write) (int64, error) {
	op := "update"
	if w.Delete {
		op = "delete"
	} else if w.If == store.Absent {
		op = "create"
	}
	defer t.measure(op, w.Key, time.Now())
	return t.Store.Apply(ctx, w)
}

// Stale implements store.Staler.
func (t timedStore) Stale(ctx context.Context, key string) (bool, error) {
	if s, ok := t.Store.(store.Staler); ok {
		return s.Stale(ctx, key)
	}
	return false, nil
}
