package inspect

import (
	"net/http"
	"net/http/pprof" // it also registers itself at http.DefaultServeMux, which nothing here serves
)

// Profiles is Go's profiles by path. The command line is not among them: it may hold what is nobody's business.
func Profiles() map[string]http.Handler {
	return map[string]http.Handler{
		"/debug/pprof":         http.RedirectHandler("/debug/pprof/", http.StatusFound),
		"/debug/pprof/":        http.HandlerFunc(pprof.Index),
		"/debug/pprof/profile": http.HandlerFunc(pprof.Profile),
		"/debug/pprof/symbol":  http.HandlerFunc(pprof.Symbol),
		"/debug/pprof/trace":   http.HandlerFunc(pprof.Trace),
	}
}
