package serve

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// checks are what /healthz looks at. Everything that may fail of the kubelet ends the process, so that whoever can ask is answered; what
// may be slow to come is the list of pods.
func (s *Server) checks() []check {
	return []check{{"ping", func() error { return nil }}, {"log", func() error { s.Log.Debug("asked whether lines can be written"); return nil }}, {"syncloop", func() error {
		select {
		case <-s.Host.Complete():
			return nil
		default:
			return fmt.Errorf("the pods of this node are not known yet")
		}
	}}}
}

type check struct {
	name string
	ask  func() error
}

// healthz runs all checks, or the one that the path names.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	all := s.checks()
	if name := r.PathValue("check"); name != "" {
		i := slices.IndexFunc(all, func(c check) bool { return c.name == name })
		if i < 0 {
			http.NotFound(w, r)
			return
		}
		if err := all[i].ask(); err != nil {
			http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, "ok")
		return
	}
	q := r.URL.Query()
	var text strings.Builder
	failed := false
	for _, c := range all {
		if slices.Contains(q["exclude"], c.name) {
			fmt.Fprintf(&text, "[+]%s excluded: ok\n", c.name)
		} else if c.ask() != nil {
			failed = true
			fmt.Fprintf(&text, "[-]%s failed: reason withheld\n", c.name)
		} else {
			fmt.Fprintf(&text, "[+]%s ok\n", c.name)
		}
	}
	switch {
	case failed:
		http.Error(w, text.String()+"healthz check failed", http.StatusInternalServerError)
	case q.Has("verbose"):
		fmt.Fprint(w, text.String()+"healthz check passed\n")
	default:
		fmt.Fprint(w, "ok")
	}
}
