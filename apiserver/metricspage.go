package apiserver

import (
	"cmp"
	"net/http"
	"strconv"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/kit/prom"
)

// metricsPage answers /metrics.
func (s *Server) metricsPage(w http.ResponseWriter, _ *http.Request) {
	var p prom.Page
	s.metrics.writeRequests(&p)
	s.metrics.writeWatches(&p)
	s.writeStorage(&p)
	s.start.WriteMetrics(&p)
	s.flow.WriteMetrics(&p)
	for _, more := range s.deps.Metrics {
		more(&p)
	}
	s.metrics.writeProcess(&p)
	w.Header().Set("Content-Type", prom.ContentType+"; escaping=underscores")
	_, _ = w.Write(p.Bytes()) // the client is gone: nobody to tell
}

func (m *metrics) writeRequests(p *prom.Page) {
	each := func(fn func(labels string, s *series)) {
		m.asked.Each(marks.compare, func(l marks, s *series) { fn(l.String(), s) })
	}
	p.Head("apiserver_request_total", "counter", "[STABLE] Requests by what they asked for and how they were answered.")
	each(func(l string, s *series) {
		for i := range s.codes {
			if n := s.codes[i].n.Load(); n > 0 {
				p.Value(prom.Labels("code", strconv.FormatInt(s.codes[i].code.Load(), 10))+","+l, float64(n))
			}
		}
	})
	p.Head("apiserver_request_duration_seconds", "histogram", "[STABLE] How long requests took, without watches and streams.")
	each(func(l string, s *series) { p.Histogram(l, s.took) })
	p.Head("apiserver_response_sizes", "histogram", "[STABLE] Bytes of the answers to reads.")
	m.asked.Each(marks.compare, func(l marks, s *series) { p.Histogram(l.reads(), s.sizes) })
	p.Head("apiserver_longrunning_requests", "gauge", "[STABLE] Open watches and streams.")
	m.asked.Each(marks.compare, func(l marks, s *series) {
		if n := s.long.Load(); n > 0 {
			p.Value(l.reads(), float64(n))
		}
	})
	p.Head("apiserver_current_inflight_requests", "gauge", "[STABLE] Requests under way, without watches and streams.")
	p.Value(`request_kind="mutating"`, float64(m.writing.Load()))
	p.Value(`request_kind="readOnly"`, float64(m.reading.Load()))
	p.Head("apiserver_requested_deprecated_apis", "gauge", "[STABLE] Kinds on their way out that somebody has asked for.")
	m.going.Each(func(a, b goingKind) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.version, b.version), cmp.Compare(a.resource, b.resource), cmp.Compare(a.sub, b.sub))
	},
		func(g goingKind, _ *atomic.Bool) {
			p.Value(prom.Labels("group", g.group, "removed_release", g.removed, "resource", g.resource, "subresource", g.sub, "version", g.version), 1)
		})
	p.Head("apiserver_request_panics_total", "counter", "Requests answered with 500 because of a panic.")
	p.Value("", float64(m.panics.Load()))
}

// reads are the labels of what is only counted of reads.
func (l marks) reads() string {
	return prom.Labels("component", l.component, "group", l.group, "resource", l.resource, "scope", l.scope, "subresource", l.sub, "verb", l.verb, "version", l.version)
}

func (m *metrics) writeWatches(p *prom.Page) {
	order := func(a, b schema.GroupVersionResource) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Version, b.Version))
	}
	of := func(r schema.GroupVersionResource) string {
		return prom.Labels("group", r.Group, "resource", r.Resource, "version", r.Version)
	}
	p.Head("apiserver_watch_events_total", "counter", "Events that watches have sent.")
	m.watches.Each(order, func(r schema.GroupVersionResource, s *watchSeries) { p.Value(of(r), float64(s.events.Load())) })
	p.Head("apiserver_watch_events_sizes", "histogram", "Bytes of the objects in these events.")
	m.watches.Each(order, func(r schema.GroupVersionResource, s *watchSeries) { p.Histogram(of(r), s.sizes) })
	p.Head("apiserver_watch_list_duration_seconds", "histogram", "[BETA] How long watches that begin with what there is took to tell it.")
	m.lists.Each(marks.compare, func(l marks, h *prom.Histogram) {
		p.Histogram(prom.Labels("group", l.group, "resource", l.resource, "scope", l.scope, "version", l.version), h)
	})
}

// writeStorage writes what there is of the store and of the cache.
func (s *Server) writeStorage(p *prom.Page) {
	shelves := s.cache.Shelves()
	stored := map[string]schema.GroupResource{}
	for _, sh := range shelves {
		stored[sh.Kind.Storage] = sh.Kind.GroupVersionResource.GroupResource()
	}
	p.Head("etcd_request_duration_seconds", "histogram", "How long operations of the store took.")
	s.metrics.store.Each(func(a, b storeOp) int { return cmp.Or(cmp.Compare(a.storage, b.storage), cmp.Compare(a.op, b.op)) }, func(o storeOp, h *prom.Histogram) {
		r, ok := stored[o.storage]
		if !ok {
			r.Resource = o.storage
		}
		p.Histogram(prom.Labels("group", r.Group, "operation", o.op, "resource", r.Resource), h)
	})
	p.Head("apiserver_storage_objects", "gauge", "[STABLE] Stored objects by resource; apiserver_resource_objects is its successor.")
	for _, sh := range shelves {
		p.Value(prom.Labels("resource", sh.Kind.GroupVersionResource.GroupResource().String()), float64(sh.Len()))
	}
	p.Head("apiserver_resource_objects", "gauge", "Stored objects by resource.")
	for _, sh := range shelves {
		p.Value(prom.Labels("group", sh.Kind.Group, "resource", sh.Kind.Resource.Resource), float64(sh.Len()))
	}
	p.Head("apiserver_storage_events_received_total", "counter", "[BETA] Changes that the store has told of.")
	for _, sh := range shelves {
		if n := sh.Changes(); n > 0 {
			p.Value(prom.Labels("group", sh.Kind.Group, "resource", sh.Kind.Resource.Resource), float64(n))
		}
	}
}

// writeProcess writes what there is of the process.
func (m *metrics) writeProcess(p *prom.Page) {
	v := served()
	p.Head("kubernetes_build_info", "gauge", "[BETA] 1, with the version that is served.")
	p.Value(prom.Labels("build_date", v.BuildDate, "compiler", v.Compiler, "git_commit", v.GitCommit, "git_tree_state", v.GitTreeState, "git_version", v.GitVersion,
		"go_version", v.GoVersion, "major", v.Major, "minor", v.Minor, "platform", v.Platform), 1)
	p.Process(m.started)
}
