package serve

import (
	"net/http"
	"net/http/pprof" // it also registers itself at http.DefaultServeMux, which nothing here serves
)

// profiles adds what the Go runtime knows of this process.
func (s *Server) profiles(m *http.ServeMux) {
	m.HandleFunc("GET /debug/pprof/", pprof.Index)
	m.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	m.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	m.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	m.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	m.HandleFunc("/debug/flags/v", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "flags endpoint is disabled.", http.StatusMethodNotAllowed)
	})
}
