package serve

import (
	"fmt"
	"net/http"
	"runtime"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/observe"
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

// metrics counts what the kubelet has, in Prometheus' text format.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	running, exited, pods := 0, 0, 0
	for _, p := range s.Host.Pods() {
		rt, ok := s.Host.Observed(r.Context(), p.UID)
		if !ok {
			continue
		}
		if rt.Sandbox() != nil {
			pods++
		}
		for i := range rt.Containers {
			switch rt.Containers[i].State {
			case observe.Running:
				running++
			case observe.Exited:
				exited++
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprintf(w, "# HELP kubelet_running_pods Number of pods that have a running pod sandbox\n# TYPE kubelet_running_pods gauge\nkubelet_running_pods %d\n", pods)
	fmt.Fprintf(w, "# HELP kubelet_running_containers Number of containers by state\n# TYPE kubelet_running_containers gauge\n"+
		"kubelet_running_containers{container_state=\"running\"} %d\nkubelet_running_containers{container_state=\"exited\"} %d\n", running, exited)
	fmt.Fprintf(w, "# HELP go_goroutines Number of goroutines that currently exist.\n# TYPE go_goroutines gauge\ngo_goroutines %d\n", runtime.NumGoroutine())
	fmt.Fprintf(w, "# HELP go_memstats_heap_inuse_bytes Bytes in use by the heap.\n# TYPE go_memstats_heap_inuse_bytes gauge\ngo_memstats_heap_inuse_bytes %d\n", m.HeapInuse)
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
