package serve

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/tunnel"
	"proa.dev/kubelet/observe"
)

// exec runs a command in a container and tunnels its streams.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	c, err := s.container(r)
	if err != nil {
		fail(w, err)
		return
	}
	q := r.URL.Query()
	resp, err := s.Runtime.Exec(r.Context(), &runtimeapi.ExecRequest{
		ContainerId: c.ID, Cmd: q["command"], Tty: yes(q, "tty"),
		Stdin: yes(q, "input") || yes(q, "stdin"), Stdout: yes(q, "output") || yes(q, "stdout"),
		Stderr: (yes(q, "error") || yes(q, "stderr")) && !yes(q, "tty"),
	})
	if err != nil {
		fail(w, err)
		return
	}
	s.tunnel(w, r, resp.GetUrl())
}

// attach tunnels the streams of a container's own process.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	c, err := s.container(r)
	if err != nil {
		fail(w, err)
		return
	}
	q := r.URL.Query()
	tty := yes(q, "tty")
	resp, err := s.Runtime.Attach(r.Context(), &runtimeapi.AttachRequest{
		ContainerId: c.ID, Tty: tty,
		Stdin: yes(q, "input") || yes(q, "stdin"), Stdout: yes(q, "output") || yes(q, "stdout"),
		Stderr: (yes(q, "error") || yes(q, "stderr")) && !tty,
	})
	if err != nil {
		fail(w, err)
		return
	}
	s.tunnel(w, r, resp.GetUrl())
}

// portForward tunnels to ports of the pod.
func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	p, err := s.pod(r)
	if err != nil {
		fail(w, err)
		return
	}
	rt, _ := s.Host.Observed(r.Context(), p.UID)
	box := rt.Sandbox()
	if box == nil {
		fail(w, answer(http.StatusInternalServerError, "sandbox is not ready"))
		return
	}
	var ports []int32
	for _, v := range r.URL.Query()["port"] { // only with WebSockets; SPDY names them in its streams
		n, err := strconv.ParseUint(v, 10, 16)
		if err != nil || n == 0 {
			fail(w, answer(http.StatusBadRequest, "unable to parse %q as a port", v))
			return
		}
		ports = append(ports, int32(n))
	}
	resp, err := s.Runtime.PortForward(r.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: box.ID, Port: ports})
	if err != nil {
		fail(w, err)
		return
	}
	s.tunnel(w, r, resp.GetUrl())
}

// run executes a command without streams and answers with its output.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	c, err := s.container(r)
	if err != nil {
		fail(w, err)
		return
	}
	resp, err := s.Runtime.ExecSync(r.Context(), &runtimeapi.ExecSyncRequest{
		ContainerId: c.ID, Cmd: []string{"sh", "-c", r.URL.Query().Get("cmd")},
	})
	if err != nil {
		fail(w, err)
		return
	}
	out := append(resp.GetStdout(), resp.GetStderr()...)
	if resp.GetExitCode() != 0 {
		w.WriteHeader(http.StatusInternalServerError)
	}
	_, _ = w.Write(out) // the client may have left
}

func yes(q url.Values, name string) bool { v := q.Get(name); return v == "1" || v == "true" }

// tunnel hands the request, and after its upgrade all bytes of both directions, to the runtime's streaming server. Its URL holds a
// one-time token and never leaves the node.
func (s *Server) tunnel(w http.ResponseWriter, r *http.Request, to string) {
	if !tunnel.Asked(r) {
		fail(w, answer(http.StatusBadRequest, "Upgrade request required"))
		return
	}
	u, err := url.Parse(to)
	if err != nil {
		fail(w, err)
		return
	}
	if u.Scheme == "" {
		u.Scheme = "http"
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, u.String(), nil)
	if err != nil {
		fail(w, err)
		return
	}
	out.Header = r.Header.Clone()
	out.Header.Del("Authorization")
	rt := &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: 30 * time.Second, DisableCompression: true}
	if err := tunnel.Serve(w, r, out, rt); err != nil && r.Context().Err() == nil {
		fail(w, err)
	}
}

// latest is the newest instance of a container that has a log.
func latest(rt *observe.Pod, name string, previous bool) *observe.Container {
	var found []*observe.Container
	for i := range rt.Containers {
		if c := &rt.Containers[i]; c.Name == name {
			found = append(found, c)
		}
	}
	if previous {
		if len(found) > 0 && found[0].State != observe.Exited {
			found = found[1:]
		} else if len(found) > 1 {
			found = found[1:]
		} else {
			return nil
		}
	}
	for _, c := range found {
		if c.LogPath != "" && (c.State == observe.Running || c.State == observe.Exited) {
			return c
		}
		if previous {
			break
		}
	}
	return nil
}
