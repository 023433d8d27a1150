package serve

import (
	"cmp"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/observe"
)

// metrics is the kubelet's own page, by Kubernetes' names.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	p := &prom.Page{}
	s.writePods(r, p)
	p.Head("kubelet_node_name", "gauge", "[ALPHA] 1, with the name of the node.")
	p.Value(prom.Labels("node", s.Node.Name), 1)
	for _, write := range s.Metrics {
		write(p)
	}
	s.Stats.WriteClaims(p)
	s.asked.write(p)
	p.Process(s.began)
	show(w, p)
}

// writePods counts pods and containers.
func (s *Server) writePods(r *http.Request, p *prom.Page) {
	var boxes, mirrors, ephemeral float64
	states := map[observe.State]float64{}
	desired, active := map[bool]float64{}, map[bool]float64{}
	for _, pod := range s.Host.Pods() {
		source := pod.Annotations["kubernetes.io/config.source"]
		static := source != "" && source != "api"
		desired[static]++
		if pod.Status.Phase != core.PodSucceeded && pod.Status.Phase != core.PodFailed {
			active[static]++
		}
		if static {
			mirrors++
		}
		ephemeral += float64(len(pod.Spec.EphemeralContainers))
		rt, ok := s.Host.Observed(r.Context(), pod.UID)
		if !ok {
			continue
		}
		if rt.Sandbox() != nil {
			boxes++
		}
		for i := range rt.Containers {
			states[rt.Containers[i].State]++
		}
	}
	gauge := func(name, help string, v float64) {
		p.Head(name, "gauge", help)
		p.Value("", v)
	}
	gauge("kubelet_running_pods", "[ALPHA] Pods with a sandbox.", boxes)
	p.Head("kubelet_running_containers", "gauge", "[ALPHA] Containers by their state.")
	for _, st := range []struct {
		state observe.State
		name  string
	}{{observe.Created, "created"}, {observe.Exited, "exited"}, {observe.Running, "running"}, {observe.Unknown, "unknown"}} {
		if n := states[st.state]; n > 0 || st.state == observe.Running || st.state == observe.Exited {
			p.Value(prom.Labels("container_state", st.name), n)
		}
	}
	both := func(name, help string, n map[bool]float64) {
		p.Head(name, "gauge", help)
		p.Value(prom.Labels("static", ""), n[false])
		p.Value(prom.Labels("static", "true"), n[true])
	}
	both("kubelet_desired_pods", "[ALPHA] Pods that the kubelet is told to run.", desired)
	both("kubelet_active_pods", "[ALPHA] Pods that the kubelet is told to run and that have not ended.", active)
	gauge("kubelet_mirror_pods", "[ALPHA] Static pods, which the API shows mirrors of.", mirrors)
	gauge("kubelet_managed_ephemeral_containers", "[ALPHA] Ephemeral containers of the pods.", ephemeral)
}

// asked counts requests. Its paths are those of the server's own list, whatever clients send.
type asked struct {
	inflight prom.Vec[request, atomic.Int64]
	done     prom.Vec[request, answered]
}

type request struct {
	method, path string
	long         bool
}

type answered struct {
	all  atomic.Int64
	took *prom.Histogram
}

// kindOf is what a request counts as: a known method, and the beginning of a pattern that is served.
func kindOf(r *http.Request, pattern string) request {
	k := request{method: "other", path: "other"}
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodOptions, http.MethodPatch:
		k.method = r.Method
	}
	if _, path, ok := strings.Cut(pattern, "/"); ok {
		parts := strings.SplitN(path, "/", 3)
		k.path = parts[0]
		if k.path == "metrics" && len(parts) > 1 {
			k.path += "/" + parts[1]
		}
	}
	switch k.path {
	case "exec", "attach", "portForward", "containerLogs", "debug":
		k.long = true
	}
	return k
}

func (k request) labels() string {
	long := "false"
	if k.long {
		long = "true"
	}
	return prom.Labels("long_running", long, "method", k.method, "path", k.path, "server_type", "readwrite")
}

// count counts the requests that m answers.
func (a *asked) count(m *http.ServeMux) http.Handler {
	scale := prom.Seconds(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := m.Handler(r)
		k := kindOf(r, pattern)
		began := time.Now()
		now := a.inflight.Get(k, nil)
		now.Add(1)
		defer func() {
			now.Add(-1)
			d := a.done.Get(k, func() *answered { return &answered{took: scale.New()} })
			d.all.Add(1)
			d.took.Add(int64(time.Since(began)))
		}()
		m.ServeHTTP(w, r)
	})
}

func (a *asked) write(p *prom.Page) {
	order := func(x, y request) int {
		return cmp.Or(strings.Compare(x.path, y.path), strings.Compare(x.method, y.method))
	}
	p.Head("kubelet_http_inflight_requests", "gauge", "[ALPHA] Requests that are being answered.")
	a.inflight.Each(order, func(k request, n *atomic.Int64) { p.Value(k.labels(), float64(n.Load())) })
	p.Head("kubelet_http_requests_total", "counter", "[ALPHA] Requests that were answered.")
	a.done.Each(order, func(k request, d *answered) { p.Value(k.labels(), float64(d.all.Load())) })
	p.Head("kubelet_http_requests_duration_seconds", "histogram", "[ALPHA] How long it took to answer requests.")
	a.done.Each(order, func(k request, d *answered) { p.Histogram(k.labels(), d.took) })
}
