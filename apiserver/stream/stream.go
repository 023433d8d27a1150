package stream

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/codec"
	"proa.dev/client"
	"proa.dev/kit/tunnel"
	"proa.dev/object"
)

// Deps are what Streams needs.
type Deps struct {
	View client.View
	// Kubelet is how to reach the kubelet of a node: "https://192.168.1.7:10250", and a transport with the API server's client
	// certificate, which must speak HTTP/1.1, since upgrades need it.
	Kubelet func(node *core.Node) (base string, rt http.RoundTripper, err error)
	// Direct reaches pods, services and other ports of nodes; nil: http.DefaultTransport's way, without verifying certificates.
	Direct http.RoundTripper
	Log    *slog.Logger
}

// Streams implements rest.Connector.
type Streams struct{ Deps }

// New starts nothing.
func New(d Deps) *Streams {
	if d.Direct == nil {
		d.Direct = direct()
	}
	return &Streams{d}
}

// Connect serves one streaming subresource.
func (s *Streams) Connect(w http.ResponseWriter, r *http.Request, t client.Target) {
	var err error
	switch t.Resource.Resource + "/" + t.Sub {
	case "pods/log":
		err = s.log(w, r, t)
	case "pods/exec", "pods/attach":
		err = s.exec(w, r, t)
	case "pods/portforward":
		err = s.portForward(w, r, t)
	case "pods/proxy":
		err = s.podProxy(w, r, t)
	case "services/proxy":
		err = s.serviceProxy(w, r, t)
	case "nodes/proxy":
		err = s.nodeProxy(w, r, t)
	default:
		err = apierrors.NewNotFound(t.GroupResource(), t.Name)
	}
	if err != nil {
		answer(w, r, err)
	}
}

// answer sends an error as a Status, in the form that the client takes.
func answer(w http.ResponseWriter, r *http.Request, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.APIVersion, status.Kind = "v1", "Status"
	want, err := codec.Accept(r.Header.Get("Accept"))
	if err != nil {
		want = codec.Wanted{} // a log is text, but errors are not
	}
	want = codec.Wanted{Form: want.Form}
	e, err := codec.Encode(&status, want.Form)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", want.ContentType(false))
	w.WriteHeader(int(status.Code))
	_, _ = w.Write(e.Bytes) // the client may have left
}

func (s *Streams) pod(t client.Target) (*core.Pod, error) {
	p, ok := client.Lookup[core.Pod](s.View, t.Key)
	if !ok {
		return nil, apierrors.NewNotFound(object.ResourceOf[core.Pod]().GroupResource(), t.Name)
	}
	return p, nil
}

// kubelet finds the way to the node of a pod.
func (s *Streams) kubelet(node string) (*url.URL, http.RoundTripper, error) {
	n, ok := client.Lookup[core.Node](s.View, object.Key{Name: node})
	if !ok {
		return nil, nil, apierrors.NewNotFound(object.ResourceOf[core.Node]().GroupResource(), node)
	}
	base, rt, err := s.Kubelet(n)
	if err != nil {
		return nil, nil, err
	}
	u, err := url.Parse(base)
	return u, rt, err
}

// kubeletOf finds the kubelet that runs p. A node that is not there is told as Kubernetes tells it: with the resource of the request.
func (s *Streams) kubeletOf(p *core.Pod) (*url.URL, http.RoundTripper, error) {
	to, rt, err := s.kubelet(p.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		err = apierrors.NewNotFound(object.ResourceOf[core.Pod]().GroupResource(), p.Spec.NodeName)
	}
	return to, rt, err
}

// container is the container that a request is about: the one it names, or the only one there is.
func container(p *core.Pod, name string) (string, error) {
	var main, init, ephemeral []string
	for i := range p.Spec.Containers {
		main = append(main, p.Spec.Containers[i].Name)
	}
	for i := range p.Spec.InitContainers {
		init = append(init, p.Spec.InitContainers[i].Name)
	}
	for i := range p.Spec.EphemeralContainers {
		ephemeral = append(ephemeral, p.Spec.EphemeralContainers[i].Name)
	}
	if name == "" {
		switch len(main) {
		case 1:
			return main[0], nil
		case 0:
			return "", apierrors.NewBadRequest("a container name must be specified for pod " + p.Name)
		}
		text := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", p.Name, strings.Join(main, " "))
		if len(init) > 0 {
			text += fmt.Sprintf(" or one of the init containers: [%s]", strings.Join(init, " "))
		}
		if len(ephemeral) > 0 {
			text += fmt.Sprintf(" or one of the ephemeral containers: [%s]", strings.Join(ephemeral, " "))
		}
		return "", apierrors.NewBadRequest(text)
	}
	for _, list := range [][]string{main, init, ephemeral} {
		for _, c := range list {
			if c == name {
				return name, nil
			}
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, p.Name))
}

// forward passes a request on, upgrades and endless bodies included.
func (s *Streams) forward(w http.ResponseWriter, r *http.Request, to *url.URL, rt http.RoundTripper) {
	if tunnel.Asked(r) {
		if err := s.upgraded(w, r, to, rt); err != nil && r.Context().Err() == nil {
			answer(w, r, unreachable(to, err))
		}
		return
	}
	p := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL, pr.Out.Host = to, to.Host
			dropCredentials(pr.Out.Header)
			pr.SetXForwarded()
		},
		Transport:     rt,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				answer(w, r, unreachable(to, err))
			}
		},
	}
	p.ServeHTTP(w, r)
}

// upgraded passes a request on that asks for another protocol.
func (s *Streams) upgraded(w http.ResponseWriter, r *http.Request, to *url.URL, rt http.RoundTripper) error {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, to.String(), nil)
	if err != nil {
		return err
	}
	out.Header = r.Header.Clone()
	dropCredentials(out.Header)
	return tunnel.Serve(w, r, out, rt)
}

// unreachable words an error of the way to a backend.
func unreachable(to *url.URL, err error) error {
	var worded apierrors.APIStatus
	if errors.As(err, &worded) {
		return err
	}
	e := apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err))
	if to.Scheme == "" {
		e = apierrors.NewServiceUnavailable(err.Error())
	}
	return e
}

// dropCredentials removes what was meant for the API server alone.
func dropCredentials(h http.Header) {
	h.Del("Authorization")
	for k := range h {
		if strings.HasPrefix(k, "Impersonate-") || strings.HasPrefix(k, "X-Remote-") {
			h.Del(k)
		}
	}
}

// refusal reads what a kubelet said instead of doing as asked.
func refusal(resp *http.Response) error {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(body))
	if resp.StatusCode < http.StatusInternalServerError {
		return apierrors.NewBadRequest(text)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: int32(resp.StatusCode), Reason: metav1.StatusReasonInternalError, Message: text,
	}}
}
