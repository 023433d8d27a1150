package apiserver_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/apitest"
	"proa.dev/client"
)

// seen writes down what a step of admission gets to see of each request.
type seen struct {
	mu    sync.Mutex
	lines []string
}

func (s *seen) plugin(admission.Deps) (admission.Part, error) {
	return admission.Part{Steps: []admission.Step{{Name: "ValidatingAdmissionWebhook", Check: func(ctx context.Context, r *admission.Request) error {
		kind := func(o interface{ GetName() string }) string { return strings.TrimPrefix(fmt.Sprintf("%T", o), "*") }
		object, old, options := "-", "-", "-"
		if r.Object != nil {
			o, err := r.Out(ctx, r.Object, r.BodyIn(r.Served.GroupVersionResource))
			if err != nil {
				return err
			}
			object = o.GetObjectKind().GroupVersionKind().Kind
		}
		if r.Old != nil {
			old = kind(r.Old)
		}
		if r.Options != nil {
			options = r.Options.GetObjectKind().GroupVersionKind().Kind
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Namespace() == "default" {
			s.lines = append(s.lines, fmt.Sprintf("%s %s/%s %s %q %s was %s by %s dry %v", r.Op, r.Served.GroupVersionResource.GroupResource(), r.Sub, r.Body, r.Name(), object, old, options, r.DryRun))
		}
		return nil
	}}}}, nil
}

type nowhere struct{}

func (nowhere) Connect(w http.ResponseWriter, r *http.Request, _ client.Target) {
	fmt.Fprintf(w, "%q", r.URL.RawQuery)
}

// Admission sees each request as Kubernetes shows it to webhooks, and once.
func TestAdmissionSeesRequests(t *testing.T) {
	var log seen
	s := apitest.Start(t, func(d *apiserver.Deps) {
		d.Plugins = append(d.Plugins, log.plugin)
		d.Connect = nowhere{}
	})
	const ns = "/api/v1/namespaces/default"
	account := `{"metadata":{"name":"default"}}`
	mustCall(t, s, 201, "POST", ns+"/serviceaccounts", "", account, nil)
	log.lines = nil
	pod := func(name string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"containers":[{"name":"c","image":"i"}]}}`, name)
	}
	deployment := `{"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
	for _, call := range []struct {
		code                     int
		verb, path, format, body string
	}{
		{201, "POST", ns + "/pods", "", pod("a")},
		{201, "POST", ns + "/pods?dryRun=All", "", pod("b")},
		{201, "POST", ns + "/pods/a/binding", "", `{"metadata":{"name":"a"},"target":{"name":"n"}}`},
		{200, "PATCH", ns + "/pods/a", "application/merge-patch+json", `{"metadata":{"labels":{"x":"y"}}}`},
		{200, "PATCH", ns + "/pods/a/status", "application/merge-patch+json", `{"status":{"reason":"y"}}`},
		{200, "GET", ns + "/pods/a/exec?command=ls&stdout=true", "", ""},
		{200, "POST", ns + "/pods/a/portforward?ports=80", "", ""},
		{200, "GET", ns + "/pods/a/log", "", ""},
		{200, "GET", ns + "/services/a/proxy/index", "", ""},
		{201, "POST", ns + "/pods/a/eviction", "", `{"metadata":{"name":"a"}}`},
		{201, "POST", "/apis/apps/v1/namespaces/default/deployments", "", deployment},
		{200, "PATCH", "/apis/apps/v1/namespaces/default/deployments/d/scale", "application/merge-patch+json", `{"spec":{"replicas":2}}`},
		{201, "POST", "/apis/events.k8s.io/v1/namespaces/default/events", "", `{"metadata":{"name":"e"},"eventTime":"2026-01-01T00:00:00.000000Z","reportingController":"a/b","reportingInstance":"c","action":"d","reason":"e","type":"Normal"}`},
		{200, "DELETE", "/apis/apps/v1/namespaces/default/deployments", "", ""},
		{200, "PATCH", ns, "application/merge-patch+json", `{"metadata":{"labels":{"x":"y"}}}`},
	} {
		mustCall(t, s, call.code, call.verb, call.path, call.format, call.body, nil)
	}
	want := []string{
		`CREATE pods/ /v1, Kind=Pod "a" Pod was - by CreateOptions dry false`,
		`CREATE pods/ /v1, Kind=Pod "b" Pod was - by CreateOptions dry true`,
		`CREATE pods/binding /v1, Kind=Binding "a" Binding was - by CreateOptions dry false`,
		`UPDATE pods/ /v1, Kind=Pod "a" Pod was v1.Pod by UpdateOptions dry false`,
		`UPDATE pods/status /v1, Kind=Pod "a" Pod was v1.Pod by UpdateOptions dry false`,
		`CONNECT pods/exec /v1, Kind=PodExecOptions "a" PodExecOptions was - by - dry false`,
		`CONNECT pods/portforward /v1, Kind=PodPortForwardOptions "a" PodPortForwardOptions was - by - dry false`,
		`CONNECT services/proxy /v1, Kind=ServiceProxyOptions "a" ServiceProxyOptions was - by - dry false`,
		`CREATE pods/eviction policy/v1, Kind=Eviction "a" Eviction was - by CreateOptions dry false`,
		`CREATE deployments.apps/ apps/v1, Kind=Deployment "d" Deployment was - by CreateOptions dry false`,
		`UPDATE deployments.apps/scale autoscaling/v1, Kind=Scale "d" Scale was v1.Scale by UpdateOptions dry false`,
		`CREATE events.events.k8s.io/ events.k8s.io/v1, Kind=Event "e" Event was - by CreateOptions dry false`,
		`DELETE deployments.apps/ apps/v1, Kind=Deployment "" - was v1.Deployment by DeleteOptions dry false`,
		`UPDATE namespaces/ /v1, Kind=Namespace "default" Namespace was v1.Namespace by UpdateOptions dry false`,
	}
	if d := cmp.Diff(want, log.lines); d != "" {
		t.Error(d)
	}
}

// What admission changes about a connection is what is connected.
func TestAdmissionChangesConnection(t *testing.T) {
	s := apitest.Start(t, func(d *apiserver.Deps) {
		d.Connect = nowhere{}
		d.Plugins = append(d.Plugins, func(admission.Deps) (admission.Part, error) {
			return admission.Part{Steps: []admission.Step{{Name: "MutatingAdmissionWebhook", Admit: func(ctx context.Context, r *admission.Request) error {
				if r.Op != admission.Connect {
					return nil
				}
				o, err := r.Out(ctx, r.Object, r.Body)
				if err != nil {
					return err
				}
				exec := o.DeepCopyObject().(*core.PodExecOptions)
				exec.Container, exec.Command = "other", []string{"a b", "c"}
				return r.Replace(ctx, exec, r.Body)
			}}}}, nil
		})
	})
	req, err := http.NewRequest("POST", s.URL+"/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()

	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"command=a+b&command=c&container=other&stdout=true"`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A plugin that is left out does nothing; what is no plugin in Kubernetes stays.
func TestAdmissionPluginLeftOut(t *testing.T) {
	s := apitest.Start(t, func(d *apiserver.Deps) { d.Without = []string{"ServiceAccount"} })
	pod := `{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}}`
	mustCall(t, s, 201, "POST", "/api/v1/namespaces/default/pods", "", pod, nil) // its namespace has no account
}
