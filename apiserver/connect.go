package apiserver

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"proa.dev/apiserver/admission"
	"proa.dev/object"
)

// connect hands a subresource that streams to whoever serves those.
func (s *Server) connect(w http.ResponseWriter, r *http.Request, q *request) {
	if s.deps.Connect == nil {
		s.fail(w, r, apierrors.NewGenericServerResponse(http.StatusNotImplemented, q.verb, q.served.GroupVersionResource.GroupResource(),
			q.target.Name, "this server does not serve "+strings.ToLower(q.target.Sub), 0, false))
		return
	}
	if q.target.Name == "" {
		s.fail(w, r, apierrors.NewBadRequest("the request names no object"))
		return
	}
	if q.verb == "get" && opensProcess(q.target.Sub) {
		// A WebSocket begins with a GET, whatever it is for. Who may only read must not get in that way.
		a := q.attributes(r.URL.Path)
		a.Verb = "create"
		if err := s.allow(r.Context(), a); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	if q.target.Sub != "log" { // reading a log is no connection
		if err := s.admitConnection(r, q); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	s.deps.Connect.Connect(w, r, q.about())
}

// opensProcess says whether a subresource of pods lets its user do things in the pod.
func opensProcess(sub string) bool { return sub == "exec" || sub == "attach" || sub == "portforward" }

// admitConnection takes the opening of a connection through admission, which may change what r asks for.
func (s *Server) admitConnection(r *http.Request, q *request) error {
	if q.query.Has("dryRun") {
		return apierrors.NewBadRequest("dryRun is not supported")
	}
	for _, ports := range q.query["ports"] {
		if q.target.Sub != "portforward" {
			break
		}
		for text := range strings.SplitSeq(ports, ",") {
			if _, err := strconv.ParseUint(text, 10, 16); err != nil {
				return apierrors.NewBadRequest("cannot convert to []int32: " + err.Error())
			}
		}
	}
	options := connectOptions(q, r.URL.Path)
	if options == nil {
		return nil
	}
	ctx, notes := admission.WithNotes(r.Context())
	q.notes = notes
	made, err := s.rest.Connect(ctx, q.served, q.about(), options.DeepCopyObject())
	if err != nil || equality.Semantic.DeepEqual(made, options) {
		return err
	}
	r.URL.RawQuery = connectQuery(made, q.query).Encode()
	return nil
}

// connectOptions is what a request asks of a connection, as Kubernetes names it; nil where there is no name for it.
func connectOptions(q *request, path string) (o runtime.Object) {
	v := q.query
	switch q.target.Resource.Resource + "/" + q.target.Sub {
	case "pods/exec":
		o = &core.PodExecOptions{Stdin: on(v, "stdin"), Stdout: on(v, "stdout"), Stderr: on(v, "stderr"), TTY: on(v, "tty"),
			Container: v.Get("container"), Command: v["command"]}
	case "pods/attach":
		o = &core.PodAttachOptions{Stdin: on(v, "stdin"), Stdout: on(v, "stdout"), Stderr: on(v, "stderr"), TTY: on(v, "tty"), Container: v.Get("container")}
	case "pods/portforward":
		p := &core.PodPortForwardOptions{}
		for _, text := range v["ports"] {
			if n, err := strconv.ParseInt(text, 10, 32); err == nil {
				p.Ports = append(p.Ports, int32(n))
			}
		}
		o = p
	case "pods/proxy":
		o = &core.PodProxyOptions{Path: proxied(path)}
	case "services/proxy":
		o = &core.ServiceProxyOptions{Path: proxied(path)}
	case "nodes/proxy":
		o = &core.NodeProxyOptions{Path: proxied(path)}
	default:
		return nil
	}
	o.GetObjectKind().SetGroupVersionKind(object.KindOf(o))
	return o
}

// connectQuery is the query that asks for what o says. The path of a proxy stands in no query, and stays.
func connectQuery(o runtime.Object, old url.Values) url.Values {
	v := url.Values{}
	streams := func(stdin, stdout, stderr, tty bool, container string) {
		for name, is := range map[string]bool{"stdin": stdin, "stdout": stdout, "stderr": stderr, "tty": tty} {
			if is {
				v.Set(name, "true")
			}
		}
		if container != "" {
			v.Set("container", container)
		}
	}
	switch o := o.(type) {
	case *core.PodExecOptions:
		streams(o.Stdin, o.Stdout, o.Stderr, o.TTY, o.Container)
		if len(o.Command) > 0 {
			v["command"] = o.Command
		}
	case *core.PodAttachOptions:
		streams(o.Stdin, o.Stdout, o.Stderr, o.TTY, o.Container)
	case *core.PodPortForwardOptions:
		for _, n := range o.Ports {
			v.Add("ports", strconv.Itoa(int(n)))
		}
	default:
		return old
	}
	return v
}

func on(v url.Values, name string) bool {
	is, err := strconv.ParseBool(v.Get(name))
	return err == nil && is
}

// proxied is what stands after "/proxy" in a path.
func proxied(path string) string {
	_, rest, _ := strings.Cut(path, "/proxy")
	return rest
}
