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
	"time"
)

// check is one named part of /livez and /readyz. Names that Kubernetes has too mean the same.
type check struct {
	name string
	live bool // counts for /livez and /healthz too
	ok   func(context.Context) error
}

// healthLimit bounds one check.
const healthLimit = 2 * time.Second

func (s *Server) healthChecks() []check {
	list := []check{
		{"ping", true, func(context.Context) error { return nil }},
		{"log", true, func(context.Context) error { return nil }},
		{"etcd", true, func(ctx context.Context) error { _, err := s.deps.Store.Revision(ctx); return err }},
		{"informer-sync", false, func(context.Context) error { return open(s.cache.Ready(), "the cache is not filled yet") }},
		{"poststarthook/bootstrap", false, func(context.Context) error { return open(s.ready, "not finished") }},
		{"shutdown", false, func(context.Context) error {
			if open(s.ending, "") == nil {
				return errors.New("process is shutting down")
			}
			return nil
		}},
	}
	for _, name := range slices.Sorted(maps.Keys(s.deps.Checks)) {
		list = append(list, check{name, true, s.deps.Checks[name]})
	}
	return list
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

// health answers /healthz, /livez and /readyz, as a whole or one check of them.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthLimit)
	defer cancel()
	parts := split(r.URL.Path)
	ready := parts[0] == "readyz"
	var out strings.Builder
	var failed []string
	found := false
	for _, c := range s.checks {
		if !ready && !c.live || len(parts) > 1 && strings.Join(parts[1:], "/") != c.name {
			continue
		}
		found = true
		if slices.Contains(r.URL.Query()["exclude"], c.name) {
			fmt.Fprintf(&out, "[+]%s excluded: ok\n", c.name)
			continue
		}
		if err := c.ok(ctx); err != nil {
			failed = append(failed, c.name)
			fmt.Fprintf(&out, "[-]%s failed: reason withheld\n", c.name)
			s.log.Debug("health check failed", "check", c.name, "err", err)
			continue
		}
		fmt.Fprintf(&out, "[+]%s ok\n", c.name)
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	switch {
	case !found:
		http.NotFound(w, r)
	case len(failed) > 0:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "%s%s check failed\n", out.String(), parts[0])
	case r.URL.Query().Has("verbose"):
		fmt.Fprintf(w, "%s%s check passed\n", out.String(), parts[0])
	default:
		fmt.Fprint(w, "ok")
	}
}

func indented(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }
