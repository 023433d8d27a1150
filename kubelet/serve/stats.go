package serve

import (
	"net/http"

	"proa.dev/kit/prom"
)

// summary is the Summary API: what the node, its pods and their containers use now.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	out, err := s.Stats.Summary(r.Context(), r.FormValue("only_cpu_and_memory") == "true")
	if err != nil {
		fail(w, err)
		return
	}
	s.json(w, out)
}

// resourceMetrics is what metrics servers read.
func (s *Server) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	page, err := s.Stats.Resource(r.Context())
	if err != nil {
		s.Log.Warn("read what pods use", "err", err) // and the page says so
	}
	show(w, page)
}

// cadvisorMetrics is what dashboards of containers read.
func (s *Server) cadvisorMetrics(w http.ResponseWriter, r *http.Request) {
	page, err := s.Stats.Cadvisor(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	show(w, page)
}

func (s *Server) probeMetrics(w http.ResponseWriter, _ *http.Request) { show(w, s.Probes()) }

func show(w http.ResponseWriter, page *prom.Page) {
	w.Header().Set("Content-Type", prom.ContentType)
	_, _ = w.Write(page.Bytes()) // the client is gone: nobody to tell
}
