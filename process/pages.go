package process

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/inspect"
	"proa.dev/config"
	"proa.dev/kit/prom"
	"proa.dev/kit/queue"
)

// pages are the paths of the API server that are about the server itself. keys is what verifies service account tokens.
func (s *server) pages(keys http.Handler) map[string]http.Handler {
	out := map[string]http.Handler{}
	if !s.config.API.NoProfiling {
		out = inspect.Profiles()
	}
	out[authn.DiscoveryPath], out[authn.KeysPath] = keys, keys
	addInspection(out, "apiserver", s.config, "/healthz", "/livez", "/metrics", "/readyz", "/version")
	return out
}

// addInspection adds the pages on which a component says how it runs, and which others of it are worth a look.
func addInspection(to map[string]http.Handler, component string, c *config.Config, paths ...string) {
	full := strings.TrimPrefix(Kubernetes, "v")
	paths = append(paths, "/flagz", "/statusz")
	slices.Sort(paths)
	to["/statusz"] = inspect.Statusz(component, inspect.Build{Started: time.Now(), Version: full, Emulation: full[:strings.LastIndexByte(full, '.')], Paths: paths})
	to["/flagz"] = inspect.Flagz(component, c.Settings)
}

// writeStoreSize writes how large the store is, where it is this process'.
func (s *server) writeStoreSize(p *prom.Page) {
	if s.storeSize == nil {
		return
	}
	p.Head("apiserver_storage_size_bytes", "gauge", "[STABLE] Bytes of the file that the store has allocated.")
	p.Value(prom.Labels("storage_cluster_id", "etcd-0"), float64(s.storeSize()))
}

// writeQueues writes what the queues of the controllers have seen, where this server runs them.
func (s *server) writeQueues(p *prom.Page) {
	for _, m := range []struct {
		name, kind, help string
		of               func(queue.Numbers) float64
	}{
		{"workqueue_adds_total", "counter", "[BETA] Keys that were added.", func(n queue.Numbers) float64 { return float64(n.Adds) }},
		{"workqueue_depth", "gauge", "[BETA] Keys that wait for a worker.", func(n queue.Numbers) float64 { return float64(n.Depth) }},
		{"workqueue_retries_total", "counter", "[BETA] Keys that were put back since they failed.", func(n queue.Numbers) float64 { return float64(n.Retries) }},
		{"workqueue_unfinished_work_seconds", "gauge", "[BETA] How long ago the keys that are being worked on were begun, all together.", func(n queue.Numbers) float64 { return n.Unfinished.Seconds() }},
		{"workqueue_longest_running_processor_seconds", "gauge", "[BETA] How long ago the first of these was begun.", func(n queue.Numbers) float64 { return n.Longest.Seconds() }},
	} {
		p.Head(m.name, m.kind, m.help)
		s.queues.Each(func(name string, n queue.Numbers) { p.Value(prom.Labels("name", name), m.of(n)) })
	}
	p.Head("workqueue_queue_duration_seconds", "histogram", "[BETA] How long keys waited for a worker.")
	s.queues.Each(func(name string, n queue.Numbers) { p.Histogram(prom.Labels("name", name), n.Waited) })
	p.Head("workqueue_work_duration_seconds", "histogram", "[BETA] How long keys were worked on.")
	s.queues.Each(func(name string, n queue.Numbers) { p.Histogram(prom.Labels("name", name), n.Worked) })
}
