package apiserver

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sort"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"proa.dev/apiserver/codec"
	"proa.dev/kinds"
)

// gitVersion is the Kubernetes version whose API this is, as clients compare it, with proa's mark.
const gitVersion = "v1.37.2+proa"

// routes answers everything that has passed the chain.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	if s.deps.Discovery != nil {
		h := prettily(s.deps.Discovery(s.Kinds))
		for _, p := range []string{"/api", "/api/", "/apis", "/apis/"} {
			mux.Handle(p, h)
		}
	}
	if s.deps.OpenAPI != nil {
		mux.Handle("/openapi/", s.deps.OpenAPI(s.Kinds))
	}
	for path, h := range s.deps.Routes {
		mux.Handle(path, h)
	}
	s.routeHealth(mux)
	mux.Handle("/openapi", http.NotFoundHandler())
	mux.HandleFunc("/version", s.version)
	mux.HandleFunc("/version/{$}", s.version)
	mux.HandleFunc("/version/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, noSuchPath()) })
	mux.HandleFunc("/metrics/slis", s.healthMetrics)
	mux.HandleFunc("/metrics", s.metricsPage)
	mux.HandleFunc("/{$}", s.index)
	mux.HandleFunc("/index.html", s.index)
	s.routeFairness(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := requestOf(r.Context())
		if h := s.another(r, q); h != nil {
			h.ServeHTTP(w, r)
			return
		}
		switch {
		case q.resource && (q.served != nil || !watchesNothing(r.URL.Path)):
			s.serve(w, r)
		case strings.Contains(r.URL.Path, "//"): // the mux would lead elsewhere
			http.NotFound(w, r)
		case watchesNothing(r.URL.Path):
			http.Error(w, fmt.Sprintf("Internal Server Error: %q: failed to create RequestInfo: unable to determine kind and namespace from url, %v",
				r.URL.Path, r.URL.Path), http.StatusInternalServerError)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// another is who answers a request that is about a group version of another server; nil: this one.
func (s *Server) another(r *http.Request, q *request) http.Handler {
	if s.deps.Elsewhere == nil {
		return nil
	}
	if q.resource {
		return s.deps.Elsewhere.Serving(q.target.Group, q.target.Version)
	}
	switch parts := split(r.URL.Path); { // the resources of a version
	case len(parts) == 2 && parts[0] == "api":
		return s.deps.Elsewhere.Serving("", parts[1])
	case len(parts) == 3 && parts[0] == "apis":
		return s.deps.Elsewhere.Serving(parts[1], parts[2])
	}
	return nil
}

// watchesNothing says whether a path is of the old form of a watch, and ends there.
func watchesNothing(path string) bool {
	parts := split(path)
	return len(parts) == 3 && parts[0] == "api" && parts[2] == "watch" || len(parts) == 4 && parts[0] == "apis" && parts[3] == "watch"
}

// unserved answers a request for a resource that there is not. Below groups of our own that is the API's answer, elsewhere the server's.
func (s *Server) unserved(w http.ResponseWriter, r *http.Request, q *request) {
	ours := q.target.Group == ""
	for _, k := range s.Kinds() {
		ours = ours || k.Custom == nil && k.Group == q.target.Group
	}
	if !ours {
		http.NotFound(w, r)
		return
	}
	s.fail(w, r, noSuchPath())
}

func (s *Server) version(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		s.fail(w, r, apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "", 0, false))
		return
	}
	s.plain(w, r, served())
}

// served is the version that is served.
func served() version.Info {
	return version.Info{
		Major: "1", Minor: "37", EmulationMajor: "1", EmulationMinor: "37", MinCompatibilityMajor: "1", MinCompatibilityMinor: "36", GitVersion: gitVersion, GitCommit: "", GitTreeState: "clean", BuildDate: "1970-01-01T00:00:00Z",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// index lists the paths there are.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	paths := append(s.healthPaths(), "/api", "/api/v1", "/apis", "/apis/", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/version")
	for path := range s.deps.Routes {
		if !strings.HasPrefix(path, "/debug") { // as Kubernetes
			paths = append(paths, path)
		}
	}
	seen := map[string]bool{}
	add := func(gv schema.GroupVersion) {
		for _, p := range []string{"/apis/" + gv.Group, "/apis/" + gv.String()} {
			if gv.Group != "" && !seen[p] {
				seen[p] = true
				paths = append(paths, p)
			}
		}
	}
	for _, k := range s.Kinds() {
		add(k.GroupVersion())
		for _, also := range k.Also {
			add(kinds.ParsePath(also.Path).GroupVersion())
		}
	}
	sort.Strings(paths)
	s.plain(w, r, map[string][]string{"paths": paths})
}

// plain answers with JSON for humans.
func (s *Server) plain(w http.ResponseWriter, r *http.Request, v any) {
	b, err := indented(v)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.send(w, r, http.StatusOK, codec.Wanted{}, b)
}

// routeFairness serves tables of who waits and runs, as Kubernetes does.
func (s *Server) routeFairness(mux *http.ServeMux) {
	for name, dump := range map[string]func(io.Writer, *http.Request){
		"dump_priority_levels": func(w io.Writer, _ *http.Request) { s.flow.DumpLevels(w) },
		"dump_queues":          func(w io.Writer, _ *http.Request) { s.flow.DumpQueues(w) },
		"dump_requests": func(w io.Writer, r *http.Request) {
			s.flow.DumpRequests(w, r.URL.Query().Get("includeRequestDetails") != "")
		},
	} {
		mux.HandleFunc("/debug/api_priority_and_fairness/"+name, func(w http.ResponseWriter, r *http.Request) {
			var out bytes.Buffer
			dump(&out, r)
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write(out.Bytes()) // the client is gone: nobody to tell
		})
	}
}
