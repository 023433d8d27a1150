package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"proa.dev/client"
	"proa.dev/kit/prom"
)

// Begin is something that is done once at start, before the server is ready. Its Name is that of the health check which says so.
type Begin struct {
	Name string // "rbac/bootstrap-roles"
	Do   func(ctx context.Context, c client.Client) error
}

// healthPages are the pages of health, see check.pages.
var healthPages = [...]string{"healthz", "livez", "readyz"}

const (
	everywhere = 1<<0 | 1<<1 | 1<<2
	onlyReadyz = 1 << 2
)

// check is one named part of the pages of health. Names that Kubernetes has too mean the same.
type check struct {
	name  string
	pages int // bit i is healthPages[i]
	ok    func(context.Context) error
	seen  *[len(healthPages)]outcome // what the pages have found
}

// outcome is how a check went on one page.
type outcome struct{ good, bad, last atomic.Int64 } // last: 1 is good

// healthLimit bounds what is asked at once.
const healthLimit = 2 * time.Second

func (s *Server) healthChecks() []check {
	always := func(context.Context) error { return nil }
	stored := func(ctx context.Context) error { _, err := s.deps.Store.Revision(ctx); return err }
	list := []check{
		{name: "ping", pages: everywhere, ok: always},
		{name: "log", pages: everywhere, ok: always},
		{name: "etcd", pages: everywhere, ok: stored},
		{name: "etcd-readiness", pages: onlyReadyz, ok: stored},
		{name: "informer-sync", pages: onlyReadyz, ok: func(context.Context) error { return open(s.cache.Ready(), "the cache is not filled yet") }},
	}
	for _, name := range slices.Sorted(maps.Keys(s.deps.Checks)) {
		list = append(list, check{name: name, pages: everywhere, ok: s.deps.Checks[name]})
	}
	hook := func(done <-chan struct{}, names ...string) {
		for _, name := range names {
			list = append(list, check{name: "poststarthook/" + name, pages: everywhere, ok: func(context.Context) error { return open(done, "not finished") }})
		}
	}
	hook(s.cache.Ready(), "generic-apiserver-start-informers", "storage-object-count-tracker-hook", "storage-readiness")
	hook(s.stage("namespaces"), "start-system-namespaces-controller")
	hook(s.stage("objects"), "start-apiserver-admission-initializer", "start-cluster-authentication-info-controller", "start-service-ip-repair-controllers",
		"scheduling/bootstrap-system-priority-classes", "bootstrap-controller", "start-kubernetes-service-cidr-controller")
	hook(s.stage("shares"), "priority-and-fairness-config-producer", "priority-and-fairness-config-consumer", "priority-and-fairness-filter")
	for _, b := range s.deps.Begin {
		hook(s.stage(b.Name), b.Name)
	}
	if s.custom != nil {
		hook(s.custom.Ready(), "start-apiextensions-informers", "start-apiextensions-controllers", "crd-informer-synced")
	}
	if s.deps.Elsewhere != nil {
		hook(s.ready, "start-kube-aggregator-informers", "apiservice-registration-controller", "apiservice-status-remote-available-controller",
			"apiservice-discovery-controller", "kube-apiserver-autoregistration")
	}
	list = append(list, check{name: "shutdown", pages: onlyReadyz, ok: func(context.Context) error {
		if s.ending.Err() != nil {
			return errors.New("process is shutting down")
		}
		return nil
	}})
	for i := range list {
		list[i].seen = new([len(healthPages)]outcome)
	}
	return list
}

// stage is closed when a part of the start is done. Only New and what it calls make stages.
func (s *Server) stage(name string) chan struct{} {
	if s.stages[name] == nil {
		s.stages[name] = make(chan struct{})
	}
	return s.stages[name]
}

// open is nil if c is closed.
func open(c <-chan struct{}, otherwise string) error {
	select {
	case <-c:
		return nil
	default:
		return errors.New(otherwise)
	}
}

// routeHealth serves the pages of health, each as a whole and by its checks.
func (s *Server) routeHealth(mux *http.ServeMux) {
	for i, page := range healthPages {
		mux.HandleFunc("/"+page, func(w http.ResponseWriter, r *http.Request) { s.health(w, r, i) })
		mux.HandleFunc("/"+page+"/", func(w http.ResponseWriter, r *http.Request) { s.oneCheck(w, r, i) })
	}
}

// healthPaths are the paths of health, for the index.
func (s *Server) healthPaths() (out []string) {
	for i, page := range healthPages {
		out = append(out, "/"+page)
		for _, c := range s.checks {
			if c.pages&(1<<i) != 0 {
				out = append(out, "/"+page+"/"+c.name)
			}
		}
	}
	return out
}

// health answers a page as a whole.
func (s *Server) health(w http.ResponseWriter, r *http.Request, page int) {
	ctx, cancel := context.WithTimeout(r.Context(), healthLimit)
	defer cancel()
	query := r.URL.Query()
	unknown := map[string]bool{}
	for _, name := range query["exclude"] {
		unknown[name] = true
	}
	var out strings.Builder
	failed := false
	for _, c := range s.checks {
		if c.pages&(1<<page) == 0 {
			continue
		}
		if slices.Contains(query["exclude"], c.name) {
			delete(unknown, c.name)
			fmt.Fprintf(&out, "[+]%s excluded: ok\n", c.name)
			continue
		}
		seen := &c.seen[page]
		if err := c.ok(ctx); err != nil {
			seen.bad.Add(1)
			seen.last.Store(0)
			failed = true
			fmt.Fprintf(&out, "[-]%s failed: reason withheld\n", c.name)
			s.log.Debug("health check failed", "check", c.name, "err", err)
			continue
		}
		seen.good.Add(1)
		seen.last.Store(1)
		fmt.Fprintf(&out, "[+]%s ok\n", c.name)
	}
	if len(unknown) > 0 {
		names := slices.Sorted(maps.Keys(unknown))
		for i := range names {
			names[i] = fmt.Sprintf("%q", names[i])
		}
		fmt.Fprintf(&out, "warn: some health checks cannot be excluded: no matches for %s\n", strings.Join(names, ","))
	}
	if failed {
		http.Error(w, out.String()+healthPages[page]+" check failed", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if !query.Has("verbose") {
		fmt.Fprint(w, "ok")
		return
	}
	fmt.Fprintf(w, "%s%s check passed\n", out.String(), healthPages[page])
}

// oneCheck answers one check of a page, with the reason if it fails: who may ask for it may know it.
func (s *Server) oneCheck(w http.ResponseWriter, r *http.Request, page int) {
	name := strings.TrimPrefix(r.URL.Path, "/"+healthPages[page]+"/")
	i := slices.IndexFunc(s.checks, func(c check) bool { return c.name == name && c.pages&(1<<page) != 0 })
	if i < 0 {
		http.NotFound(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), healthLimit)
	defer cancel()
	if err := s.checks[i].ok(ctx); err != nil {
		http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, "ok")
}

// healthMetrics answers /metrics/slis: what has come of the checks of every page that was asked for.
func (s *Server) healthMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", prom.ContentType)
	var last, total strings.Builder
	last.WriteString("# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.\n# TYPE kubernetes_healthcheck gauge\n")
	total.WriteString("# HELP kubernetes_healthchecks_total [STABLE] This metric records the results of all healthcheck.\n# TYPE kubernetes_healthchecks_total counter\n")
	checks := slices.SortedFunc(slices.Values(s.checks), func(a, b check) int { return strings.Compare(a.name, b.name) })
	for _, c := range checks {
		for i := range c.seen {
			good, bad := c.seen[i].good.Load(), c.seen[i].bad.Load()
			if good+bad > 0 {
				fmt.Fprintf(&last, "kubernetes_healthcheck{name=%q,type=%q} %d\n", c.name, healthPages[i], c.seen[i].last.Load())
			}
			if bad > 0 {
				fmt.Fprintf(&total, "kubernetes_healthchecks_total{name=%q,status=\"error\",type=%q} %d\n", c.name, healthPages[i], bad)
			}
			if good > 0 {
				fmt.Fprintf(&total, "kubernetes_healthchecks_total{name=%q,status=\"success\",type=%q} %d\n", c.name, healthPages[i], good)
			}
		}
	}
	fmt.Fprint(w, last.String(), total.String())
}

func indented(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }
