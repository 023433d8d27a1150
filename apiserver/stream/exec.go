package stream

import (
	"net/http"
	"net/url"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"proa.dev/client"
)

// wants says which streams a request asks for.
type wants struct{ stdin, stdout, stderr, tty bool }

func wanted(q url.Values) wants {
	on := func(name string) bool {
		b, err := strconv.ParseBool(q.Get(name))
		return err == nil && b
	}
	o := wants{on("stdin"), on("stdout"), on("stderr"), on("tty")}
	o.stderr = o.stderr && !o.tty // a terminal has one output
	return o
}

// exec serves pods/exec and pods/attach.
func (s *Streams) exec(w http.ResponseWriter, r *http.Request, t client.Target) error {
	p, err := s.pod(t)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	c, err := container(p, q.Get("container"))
	if err != nil {
		return err
	}
	if p.Spec.NodeName == "" {
		return apierrors.NewBadRequest("pod " + p.Name + " does not have a host assigned")
	}
	o := wanted(q)
	if t.Sub == "exec" && len(q["command"]) == 0 {
		return apierrors.NewBadRequest("you must specify at least one command for the container")
	}
	if !o.stdin && !o.stdout && !o.stderr {
		return apierrors.NewBadRequest("you must specify at least one of stdin, stdout, stderr")
	}
	to, rt, err := s.kubeletOf(p)
	if err != nil {
		return err
	}
	to.Path = "/" + t.Sub + "/" + p.Namespace + "/" + p.Name + "/" + c
	ask := url.Values{"command": q["command"]}
	for name, on := range map[string]bool{"input": o.stdin, "output": o.stdout, "error": o.stderr, "tty": o.tty} {
		if on {
			ask.Set(name, "1")
		}
	}
	to.RawQuery = ask.Encode()
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		return s.translate(w, r, to, rt, o)
	}
	s.forward(w, r, to, rt)
	return nil
}

// portForward serves pods/portforward.
func (s *Streams) portForward(w http.ResponseWriter, r *http.Request, t client.Target) error {
	p, err := s.pod(t)
	if err != nil {
		return err
	}
	if p.Spec.NodeName == "" {
		return apierrors.NewBadRequest("pod " + p.Name + " does not have a host assigned")
	}
	to, rt, err := s.kubeletOf(p)
	if err != nil {
		return err
	}
	to.Path = "/portForward/" + p.Namespace + "/" + p.Name
	if ports := r.URL.Query()["ports"]; len(ports) > 0 {
		to.RawQuery = url.Values{"port": ports}.Encode()
	}
	if wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		return s.tunnel(w, r, to, rt)
	}
	s.forward(w, r, to, rt)
	return nil
}
