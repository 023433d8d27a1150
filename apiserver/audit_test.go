package apiserver_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/apitest"
	"proa.dev/apiserver/audit"
	"proa.dev/client"
)

// trail is a sink that keeps what it gets.
type trail struct {
	mu     sync.Mutex
	events []*audit.Event
}

func (l *trail) Write(events []*audit.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, events...)
	return nil
}

// of is the events that match.
func (l *trail) of(f func(*audit.Event) bool) (out []*audit.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if f(e) {
			out = append(out, e)
		}
	}
	return out
}

func audited(t *testing.T, policy string) (*apitest.Server, *trail) {
	t.Helper()
	p, err := audit.ParsePolicy("policy.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\n"+policy))
	if err != nil {
		t.Fatal(err)
	}
	l := &trail{}
	log := audit.New(audit.Config{Policy: p, Sinks: []audit.Sink{l}})
	return apitest.Start(t, func(d *apiserver.Deps) { d.Audit = log }), l
}

func sendAs(t *testing.T, s *apitest.Server, method, path, body string, header http.Header) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res
}

func TestAuditStages(t *testing.T) {
	s, l := audited(t, "rules: [{level: Metadata}]\n")
	res := sendAs(t, s, "POST", cms, newConfigMap("a", ""), http.Header{"Authorization": {"Bearer bob"}, "Impersonate-User": {"eve"}, "X-Forwarded-For": {"192.0.2.7"}})
	o := &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}}
	if _, err := client.Create(t.Context(), s.Client, o); err != nil {
		t.Fatal(err)
	}
	bad := sendAs(t, s, "GET", cms+"/a", "", http.Header{"Authorization": {"Bearer bad"}})
	gone := sendAs(t, s, "GET", cms+"/none", "", nil)
	w := watch(t, s, "?fieldSelector=metadata.name=a")
	w.want("ADDED a")
	s.Stop()
	byID := func(res *http.Response) []*audit.Event {
		return l.of(func(e *audit.Event) bool { return e.AuditID == res.Header.Get("Audit-Id") })
	}
	got := byID(res)
	if len(got) != 2 || got[0].Stage != audit.RequestReceived || got[1].Stage != audit.ResponseComplete {
		t.Fatalf("%d events of one request: %+v", len(got), got)
	}
	if e := got[0]; e.Impersonated != nil || e.ResponseStatus != nil || e.Annotations != nil || e.Object.Name != "" {
		t.Errorf("the first event knows what came later: %+v", e)
	}
	e := got[1]
	if e.Verb != "create" || e.User.Username != "bob" || e.Impersonated == nil || e.Impersonated.Username != "eve" || e.ResponseStatus.Code != 201 ||
		e.Annotations["authorization.k8s.io/decision"] != "allow" || e.Object.Name != "a" || e.RequestObject != nil ||
		len(e.SourceIPs) != 2 || e.SourceIPs[0] != "192.0.2.7" || e.Level != audit.Metadata || e.RequestURI != cms {
		t.Errorf("over HTTP: %+v", e)
	}
	local := l.of(func(e *audit.Event) bool { return e.UserAgent == "proa" && e.RequestURI == cms && e.Object.Name == "b" })
	if len(local) != 1 || local[0].Verb != "create" || local[0].User.Username != "admin" || local[0].ResponseStatus.Code != 200 {
		t.Errorf("without a wire: %+v", local)
	}
	if got := byID(bad); len(got) != 1 || got[0].Stage != audit.ResponseStarted || got[0].ResponseStatus.Code != 401 ||
		got[0].ResponseStatus.Message != "Authentication failed, attempted: bearer" {
		t.Errorf("of somebody unknown: %+v", got)
	}
	if got := byID(gone); len(got) != 2 || got[1].ResponseStatus.Reason != metav1.StatusReasonNotFound || got[1].ResponseStatus.Status != "Failure" ||
		got[1].ResponseStatus.Message != `configmaps "none" not found` {
		t.Errorf("of a failure: %+v", got[1].ResponseStatus)
	}
	var stages []audit.Stage
	for _, e := range l.of(func(e *audit.Event) bool { return e.Verb == "watch" && e.Object.Resource == "configmaps" }) {
		stages = append(stages, e.Stage)
	}
	if len(stages) != 3 || stages[0] != audit.RequestReceived || stages[1] != audit.ResponseStarted || stages[2] != audit.ResponseComplete {
		t.Errorf("a watch has the stages %v", stages)
	}
}

func TestAuditLevelsAndObjects(t *testing.T) {
	s, l := audited(t, `omitStages: [RequestReceived]
rules:
- {level: None, users: [quiet]}
- {level: Request, verbs: [update], resources: [{resources: [configmaps]}]}
- {level: RequestResponse, resources: [{resources: [configmaps]}], omitManagedFields: true}
- {level: None}
`)
	sendAs(t, s, "POST", cms, newConfigMap("a", ""), nil)
	sendAs(t, s, "PUT", cms+"/a", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: c}\n", http.Header{"Content-Type": {"application/yaml"}})
	sendAs(t, s, "PATCH", cms+"/a", `{"data":{"x":"y"}}`, http.Header{"Content-Type": {"application/merge-patch+json"}})
	sendAs(t, s, "GET", cms, "", nil)
	sendAs(t, s, "GET", cms, "", http.Header{"Authorization": {"Bearer quiet"}})
	sendAs(t, s, "GET", "/api/v1/secrets", "", nil)
	s.Stop()
	got := l.of(func(e *audit.Event) bool { return e.UserAgent != "proa" })
	if len(got) != 4 {
		t.Fatalf("%d events, want 4: %+v", len(got), got)
	}
	for i, want := range []struct {
		verb, request, response string
	}{
		{"create", `"name":"a"`, `"kind":"ConfigMap"`},
		{"update", `"data":{"b":"c"}`, ""},
		{"patch", `{"data":{"x":"y"}}`, `"x":"y"`},
		{"list", "", `"kind":"ConfigMapList"`},
	} {
		e := got[i]
		if e.Verb != want.verb || !strings.Contains(string(e.RequestObject), want.request) || !strings.Contains(string(e.ResponseObject), want.response) ||
			(want.response == "") != (e.ResponseObject == nil) || (want.request == "") != (e.RequestObject == nil) {
			t.Errorf("%s: request %s response %s", e.Verb, e.RequestObject, e.ResponseObject)
		}
		if strings.Contains(string(e.ResponseObject), "managedFields") {
			t.Errorf("%s: managed fields were not left out: %s", e.Verb, e.ResponseObject)
		}
	}
}

// broken is a sink that loses everything.
type broken struct{}

func (broken) Write([]*audit.Event) error { return http.ErrAbortHandler }

func TestStrictAuditRefuses(t *testing.T) {
	log := audit.New(audit.Config{Policy: &audit.Policy{Rules: []audit.Rule{{Level: audit.Metadata}}}, Sinks: []audit.Sink{broken{}}, Strict: true})
	s := apitest.Start(t, func(d *apiserver.Deps) { d.Audit = log })
	if res := sendAs(t, s, "GET", cms, "", nil); res.StatusCode != 500 {
		t.Errorf("status %d, want 500", res.StatusCode)
	}
	if _, lost := log.Counts(); lost == 0 {
		t.Error("no lost event was counted")
	}
}
