package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/kit/prom"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/stats"
	"proa.dev/object"
)

// Host is what the server asks of the kubelet.
type Host interface {
	// Pods are the pods of this node as the API last had them.
	Pods() []*core.Pod
	// Complete is closed once Pods has named all of them: not yet when the kubelet has just started.
	Complete() <-chan struct{}
	// Observed is what the runtime has of a pod; ok is false if the kubelet does not know it.
	Observed(ctx context.Context, uid types.UID) (observe.Pod, bool)
	// Ended is closed once the container does not run (any more).
	Ended(uid types.UID, containerID string) <-chan struct{}
}

// Deps are what a Server needs.
type Deps struct {
	Client   client.Client // for reviews of tokens and access
	View     client.View
	Runtime  cri.Runtime
	Host     Host
	Stats    *stats.Collector
	Probes   func() *prom.Page  // results of probes
	Metrics  []func(*prom.Page) // what others have for the kubelet's page
	Node     *spec.Node
	Listener net.Listener
	TLS      *tls.Config             // certificates; client certificates are asked for and verified here
	CAs      func() *x509.CertPool   // of client certificates; nil: none are accepted
	Config   map[string]any          // what /configz shows: the fields of a KubeletConfiguration
	Pages    map[string]http.Handler // more pages, by their path
	Logs     string                  // what /logs/ shows; default "/var/log"
	NoLogs   bool                    // it shows nothing
	LogQuery bool                    // it can be asked for the logs of services
	Journal  string                  // the program that reads them; default "journalctl"
	Proc     string                  // where this process finds which service it is and where its own log goes; default "/proc/self"
	Log      *slog.Logger
}

// Server is the node's API.
type Server struct {
	Deps
	gate  *gate
	asked asked
	began time.Time
	http  *http.Server
}

// New starts nothing.
func New(d Deps) (*Server, error) {
	if d.Logs == "" {
		d.Logs = "/var/log"
	}
	if d.Journal == "" {
		d.Journal = "journalctl"
	}
	if d.Proc == "" {
		d.Proc = "/proc/self"
	}
	s := &Server{Deps: d, gate: newGate(d.Client, d.Node.Name, d.CAs), began: time.Now()}
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          slog.NewLogLogger(d.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Run serves until ctx ends; open streams end then too.
func (s *Server) Run(ctx context.Context) error {
	l := s.Listener
	if s.TLS != nil {
		conf := s.TLS.Clone()
		conf.ClientAuth = tls.RequestClientCert
		conf.NextProtos = []string{"h2", "http/1.1"}
		l = tls.NewListener(l, conf)
		if err := configureHTTP2(s.http, conf); err != nil {
			return err
		}
	}
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	stop := context.AfterFunc(ctx, func() { s.http.Close() })
	defer stop()
	s.Log.Info("kubelet serves", "addr", l.Addr().String())
	err := s.http.Serve(l)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("serve the node's API: %w", err)
}

// configureHTTP2 lets the server speak HTTP/2 on a listener whose TLS we do ourselves.
func configureHTTP2(s *http.Server, conf *tls.Config) error {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	s.Protocols, s.TLSConfig = p, conf
	return nil
}

// Handler is the whole API behind its gate.
func (s *Server) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /healthz", s.healthz)
	m.HandleFunc("GET /healthz/{check}", s.healthz)
	m.HandleFunc("GET /pods", s.pods)
	m.HandleFunc("GET /pods/{$}", s.pods)
	m.HandleFunc("GET /runningpods/{$}", s.runningPods)
	m.HandleFunc("GET /configz", s.configz)
	m.HandleFunc("GET /containerLogs/{ns}/{pod}/{container}", s.containerLogs)
	for _, verb := range []string{"GET", "POST"} { // WebSockets begin with a GET, SPDY with a POST
		m.HandleFunc(verb+" /exec/{ns}/{pod}/{container}", s.exec)
		m.HandleFunc(verb+" /exec/{ns}/{pod}/{uid}/{container}", s.exec)
		m.HandleFunc(verb+" /attach/{ns}/{pod}/{container}", s.attach)
		m.HandleFunc(verb+" /attach/{ns}/{pod}/{uid}/{container}", s.attach)
		m.HandleFunc(verb+" /portForward/{ns}/{pod}", s.portForward)
		m.HandleFunc(verb+" /portForward/{ns}/{pod}/{uid}", s.portForward)
	}
	m.HandleFunc("POST /run/{ns}/{pod}/{container}", s.run)
	m.HandleFunc("POST /run/{ns}/{pod}/{uid}/{container}", s.run)
	m.HandleFunc("GET /stats/summary", s.summary)
	m.HandleFunc("GET /metrics", s.metrics)
	m.HandleFunc("GET /metrics/resource", s.resourceMetrics)
	m.HandleFunc("GET /metrics/cadvisor", s.cadvisorMetrics)
	m.HandleFunc("GET /metrics/probes", s.probeMetrics)
	m.Handle("GET /logs/", s.systemLogs())
	m.HandleFunc("POST /checkpoint/{ns}/{pod}/{container}", s.checkpoint)
	s.profiles(m)
	for path, page := range s.Pages {
		m.Handle("GET "+path, page)
	}
	return s.gate.guard(s.asked.count(m))
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := &core.PodList{}
	list.APIVersion, list.Kind = "v1", "PodList"
	for _, p := range s.Host.Pods() {
		if now, ok := client.Lookup[core.Pod](s.View, object.KeyOf(p)); ok && now.UID == p.UID {
			p = now
		}
		list.Items = append(list.Items, *p)
	}
	s.json(w, list)
}

func (s *Server) runningPods(w http.ResponseWriter, r *http.Request) {
	list := &core.PodList{}
	list.APIVersion, list.Kind = "v1", "PodList"
	for _, p := range s.Host.Pods() {
		rt, ok := s.Host.Observed(r.Context(), p.UID)
		if !ok || !rt.AnyRunning() {
			continue
		}
		item := core.Pod{}
		item.Namespace, item.Name, item.UID = p.Namespace, p.Name, p.UID
		for _, c := range rt.Containers {
			if c.State == observe.Running {
				item.Spec.Containers = append(item.Spec.Containers, core.Container{Name: c.Name, Image: c.Image})
			}
		}
		list.Items = append(list.Items, item)
	}
	s.json(w, list)
}

// configz shows the configuration as other components know how to read it.
func (s *Server) configz(w http.ResponseWriter, _ *http.Request) {
	s.json(w, map[string]any{"kubeletconfig": s.Config})
}

func (s *Server) json(w http.ResponseWriter, o any) {
	b, err := json.Marshal(o)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // the client may have left
}

// httpError is an error with the status that it shall have.
type httpError struct {
	code int
	error
}

func answer(code int, format string, args ...any) error {
	return &httpError{code, fmt.Errorf(format, args...)}
}

func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var h *httpError
	if errors.As(err, &h) {
		code = h.code
	}
	http.Error(w, cri.Message(err), code)
}

// patience bounds how long a request waits for a kubelet that has just started to know its pods.
const patience = 10 * time.Second

// pod finds the pod that a request names.
func (s *Server) pod(r *http.Request) (*core.Pod, error) {
	if p := s.find(r); p != nil {
		return p, nil
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-s.Host.Complete():
	case <-r.Context().Done():
	case <-t.C:
	}
	if p := s.find(r); p != nil {
		return p, nil
	}
	return nil, answer(http.StatusNotFound, "pod does not exist")
}

func (s *Server) find(r *http.Request) *core.Pod {
	ns, name, uid := r.PathValue("ns"), r.PathValue("pod"), types.UID(r.PathValue("uid"))
	for _, p := range s.Host.Pods() {
		if p.Namespace == ns && p.Name == name && (uid == "" || p.UID == uid) {
			return p
		}
	}
	return nil
}

// container finds the running instance of the container that a request names.
func (s *Server) container(r *http.Request) (*observe.Container, error) {
	p, err := s.pod(r)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("container")
	rt, _ := s.Host.Observed(r.Context(), p.UID)
	c := rt.Latest(name)
	if c == nil || c.State != observe.Running {
		return nil, answer(http.StatusInternalServerError, "container not found (%q)", name)
	}
	return c, nil
}
