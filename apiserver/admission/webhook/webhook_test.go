package webhook_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	review "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"proa.dev/apiserver"
	"proa.dev/apiserver/admission/webhook"
	"proa.dev/apiserver/apitest"
)

// hooks is a server of webhooks: each path is one.
type hooks struct {
	*httptest.Server
	ca string

	mu    sync.Mutex
	seen  []string // "path operation name", in order of arrival
	serve map[string]func(*review.AdmissionRequest) *review.AdmissionResponse
}

func newHooks(t *testing.T, serve map[string]func(*review.AdmissionRequest) *review.AdmissionResponse) *hooks {
	t.Helper()
	h := &hooks{serve: serve}
	serve["/mark"] = func(*review.AdmissionRequest) *review.AdmissionResponse {
		return &review.AdmissionResponse{Result: &metav1.Status{Message: "marked as seen"}}
	}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q review.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
			return
		}
		h.mu.Lock()
		h.seen = append(h.seen, fmt.Sprintf("%s %s %s", r.URL.Path, q.Request.Operation, q.Request.Name))
		h.mu.Unlock()
		a := h.serve[r.URL.Path](q.Request)
		if a == nil {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		a.UID = q.Request.UID
		q.Request, q.Response = nil, a
		if err := json.NewEncoder(w).Encode(q); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(h.Close)
	h.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}))
	return h
}

// take is what the hooks have seen since it was called last.
func (h *hooks) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := h.seen
	h.seen = nil
	return seen
}

// hook is a webhook in a configuration: JSON, with further fields.
func (h *hooks) hook(path, more string) string {
	ca, err := json.Marshal([]byte(h.ca))
	if err != nil {
		panic(err)
	}
	if !strings.Contains(more, `"rules"`) {
		more += `,"rules":[{"operations":["*"],"apiGroups":[""],"apiVersions":["v1"],"resources":["configmaps"]}]`
	}
	if !strings.Contains(more, `"sideEffects"`) {
		more += `,"sideEffects":"None"`
	}
	if !strings.Contains(more, `"admissionReviewVersions"`) {
		more += `,"admissionReviewVersions":["v1","v1beta1"]`
	}
	return fmt.Sprintf(`{"name":"%s.example.org","clientConfig":{"url":%q,"caBundle":%s}%s}`, strings.Trim(path, "/")+".x", h.URL+path, ca, more)
}

func start(t *testing.T) *apitest.Server {
	t.Helper()
	return apitest.Start(t, func(d *apiserver.Deps) { d.Plugins = append(d.Plugins, webhook.New) })
}

// configure makes a configuration, and waits until it is followed: until a further webhook in it refuses what is marked.
func (h *hooks) configure(t *testing.T, s *apitest.Server, kind, name string, list ...string) {
	t.Helper()
	mark := strings.ToLower(kind) + name
	list = append(list, h.hook("/mark", fmt.Sprintf(`,"objectSelector":{"matchLabels":{"mark":%q}},
		"rules":[{"operations":["*"],"apiGroups":[""],"apiVersions":["v1"],"resources":["secrets"]}]`, mark)))
	path := "/apis/admissionregistration.k8s.io/v1/" + strings.ToLower(kind) + "webhookconfigurations"
	body := fmt.Sprintf(`{"metadata":{"name":%q},"webhooks":[%s]}`, name, strings.Join(list, ","))
	if code, text, _ := call(t, s, "POST", path, body); code != 201 {
		t.Fatalf("%d %s", code, text)
	}
	eventually(t, func() bool {
		_, text, _ := call(t, s, "POST", "/api/v1/namespaces/default/secrets?dryRun=All", configMap("marked", fmt.Sprintf(`,"labels":{"mark":%q}`, mark)))
		return strings.Contains(text, "denied the request")
	})
	h.take()
}

func call(t *testing.T, s *apitest.Server, method, path, body string) (code int, text string, warnings []string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if method == "PATCH" {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var st metav1.Status
	if json.Unmarshal(b, &st) == nil && st.Kind == "Status" && st.Message != "" {
		return resp.StatusCode, st.Message, resp.Header.Values("Warning")
	}
	return resp.StatusCode, string(b), resp.Header.Values("Warning")
}

const maps = "/api/v1/namespaces/default/configmaps"

func configMap(name, more string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q%s}}`, name, more)
}

func allow(*review.AdmissionRequest) *review.AdmissionResponse {
	return &review.AdmissionResponse{Allowed: true}
}

func patch(text string) func(*review.AdmissionRequest) *review.AdmissionResponse {
	return func(*review.AdmissionRequest) *review.AdmissionResponse {
		return &review.AdmissionResponse{Allowed: true, Patch: []byte(text), PatchType: ptr.To(review.PatchTypeJSONPatch)}
	}
}

// What a validating webhook says is what the client hears.
func TestRefusals(t *testing.T) {
	h := newHooks(t, map[string]func(*review.AdmissionRequest) *review.AdmissionResponse{
		"/allow": allow,
		"/warn": func(*review.AdmissionRequest) *review.AdmissionResponse {
			return &review.AdmissionResponse{Allowed: true, Warnings: []string{"careful"}}
		},
		"/silent": func(*review.AdmissionRequest) *review.AdmissionResponse { return &review.AdmissionResponse{} },
		"/reason": func(*review.AdmissionRequest) *review.AdmissionResponse {
			return &review.AdmissionResponse{Result: &metav1.Status{Reason: "Because", Code: 403}}
		},
		"/message": func(*review.AdmissionRequest) *review.AdmissionResponse {
			return &review.AdmissionResponse{Result: &metav1.Status{Message: "no such thing", Code: 200, Status: "Success"}}
		},
		"/patch":  patch(`[{"op":"add","path":"/data","value":{"a":"b"}}]`),
		"/broken": func(*review.AdmissionRequest) *review.AdmissionResponse { return nil },
	})
	for _, tt := range []struct {
		path, more, body, query string
		code                    int
		message                 string
		warnings                int
	}{
		{"/allow", ``, "", "", 201, "", 0},
		{"/warn", ``, "", "", 201, "", 1},
		{"/silent", ``, "", "", 400, `admission webhook "silent.x.example.org" denied the request without explanation`, 0},
		{"/reason", ``, "", "", 403, `admission webhook "reason.x.example.org" denied the request: Because`, 0},
		{"/message", ``, "", "", 400, `admission webhook "message.x.example.org" denied the request: no such thing`, 0},
		{"/message", `,"admissionReviewVersions":["v9","v1beta1"]`, "", "", 400, `admission webhook "message.x.example.org" denied the request: no such thing`, 0},
		{"/patch", ``, "", "", 500, `Internal error occurred: failed calling webhook "patch.x.example.org": received invalid webhook response: validating webhook may not return response.patch`, 0},
		{"/broken", ``, "", "", 500, `Internal error occurred: failed calling webhook "broken.x.example.org": failed to call webhook: an error on the server ("out of order") has prevented the request from succeeding`, 0},
		{"/broken", `,"failurePolicy":"Ignore"`, "", "", 201, "", 0},
		{"/silent", `,"objectSelector":{"matchLabels":{"a":"b"}}`, "", "", 201, "", 0},
		{"/silent", `,"objectSelector":{"matchLabels":{"a":"b"}}`, `,"labels":{"a":"b"}`, "", 400, `admission webhook "silent.x.example.org" denied the request without explanation`, 0},
		{"/silent", `,"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"other"}}`, "", "", 201, "", 0},
		{"/silent", `,"matchConditions":[{"name":"a","expression":"object.metadata.name == 'other'"}]`, "", "", 201, "", 0},
		{"/silent", `,"matchConditions":[{"name":"a","expression":"authorizer.requestResource.check('create').allowed()"}]`, "", "", 400, `admission webhook "silent.x.example.org" denied the request without explanation`, 0},
		{"/allow", `,"matchConditions":[{"name":"a","expression":"object.data.x == 'y'"}]`, "", "", 403, `configmaps "x" is forbidden: expression 'object.data.x == 'y'' resulted in error: no such key: data`, 0},
		{"/allow", `,"failurePolicy":"Ignore","matchConditions":[{"name":"a","expression":"object.data.x == 'y'"}]`, "", "", 201, "", 0},
		{"/allow", ``, "", "?dryRun=All", 201, "", 0},
	} {
		t.Run(tt.path+tt.more+tt.body+tt.query, func(t *testing.T) {
			s := start(t)
			h.configure(t, s, "Validating", "c", h.hook(tt.path, tt.more))
			code, text, warnings := call(t, s, "POST", maps+tt.query, configMap("x", tt.body))
			if code != tt.code || tt.message != "" && text != tt.message || len(warnings) != tt.warnings {
				t.Errorf("got %d %s, %d warnings; want %d %s, %d", code, text, len(warnings), tt.code, tt.message, tt.warnings)
			}
		})
	}
}

// Webhooks are asked in the order of their configurations' names, each sees what those before have made, and those that ask for it see what
// came after them.
func TestMutationInOrder(t *testing.T) {
	counting := func(key string) func(*review.AdmissionRequest) *review.AdmissionResponse {
		return func(q *review.AdmissionRequest) *review.AdmissionResponse {
			var o struct{ Data map[string]string }
			if err := json.Unmarshal(q.Object.Raw, &o); err != nil {
				t.Error(err)
			}
			o.Data[key] += fmt.Sprint(len(o.Data))
			v, err := json.Marshal(o.Data)
			if err != nil {
				t.Error(err)
			}
			return patch(fmt.Sprintf(`[{"op":"add","path":"/data","value":%s}]`, v))(q)
		}
	}
	h := newHooks(t, map[string]func(*review.AdmissionRequest) *review.AdmissionResponse{
		"/first": counting("first"), "/second": counting("second"), "/third": counting("third"), "/check": allow,
	})
	s := start(t)
	h.configure(t, s, "Validating", "v", h.hook("/check", ""))
	h.configure(t, s, "Mutating", "b", h.hook("/second", `,"reinvocationPolicy":"IfNeeded"`), h.hook("/third", ""))
	h.configure(t, s, "Mutating", "a", h.hook("/first", ""))
	code, text, _ := call(t, s, "POST", maps, `{"metadata":{"name":"x"},"data":{"z":"z"}}`)
	if code != 201 {
		t.Fatalf("%d %s", code, text)
	}
	var got struct{ Data map[string]string }
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"z": "z", "first": "1", "second": "24", "third": "3"}
	if d := cmp.Diff(want, got.Data); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"/first CREATE x", "/second CREATE x", "/third CREATE x", "/second CREATE x", "/check CREATE x"}, h.take()); d != "" {
		t.Error(d)
	}
}

// What a webhook makes is defaulted and validated as if the client had sent it, and the request goes on with it.
func TestMutationIsDefaultedAndValidated(t *testing.T) {
	h := newHooks(t, map[string]func(*review.AdmissionRequest) *review.AdmissionResponse{
		"/port":  patch(`[{"op":"add","path":"/spec/ports","value":[{"port":80}]}]`),
		"/bad":   patch(`[{"op":"add","path":"/spec/ports","value":[{"port":-1}]}]`),
		"/wrong": patch(`[{"op":"add","path":"/spec/ports","value":"x"}]`),
		"/lost":  patch(`[{"op":"remove","path":"/spec/nothing"}]`),
		"/junk":  patch(`{`),
	})
	rules := `,"rules":[{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["*"],"resources":["services"]}]`
	for path, want := range map[string]string{
		"/port":  `201`,
		"/bad":   `422 Service "s" is invalid: [spec.ports[0].port: Invalid value: -1: must be between 1 and 65535, inclusive, spec.ports[0].targetPort: Invalid value: -1: must be between 1 and 65535, inclusive]`,
		"/wrong": `500 Internal error occurred: json: cannot unmarshal string into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort`,
		"/lost":  `500 Internal error occurred: error in remove for path: '/spec/nothing': Unable to remove nonexistent key: nothing: missing value`,
		"/junk":  `500 Internal error occurred: failed calling webhook "junk.x.example.org": received undecodable patch in webhook response: unexpected end of JSON input`,
	} {
		t.Run(path, func(t *testing.T) {
			s := start(t)
			h.configure(t, s, "Mutating", "c", h.hook(path, rules))
			code, text, _ := call(t, s, "POST", "/api/v1/namespaces/default/services", `{"metadata":{"name":"s"},"spec":{"clusterIP":"None"}}`)
			got := fmt.Sprint(code)
			if code != 201 {
				got += " " + text
			} else if !strings.Contains(text, `"targetPort":80`) || !strings.Contains(text, `"protocol":"TCP"`) {
				t.Errorf("what a webhook adds has no defaults: %s", text)
			}
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// A webhook that has side effects is not asked about dry runs: they are refused.
func TestDryRun(t *testing.T) {
	h := newHooks(t, map[string]func(*review.AdmissionRequest) *review.AdmissionResponse{"/some": allow})
	s := start(t)
	h.configure(t, s, "Validating", "c", h.hook("/some", `,"sideEffects":"NoneOnDryRun"`))
	if code, text, _ := call(t, s, "POST", maps+"?dryRun=All", configMap("x", "")); code != 201 {
		t.Errorf("%d %s", code, text)
	}
	if d := cmp.Diff([]string{"/some CREATE x"}, h.take()); d != "" {
		t.Error(d)
	}
}

// Webhooks see objects in the version that they ask for, also subresources, and deletes of collections one by one.
func TestWhatWebhooksSee(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	h := newHooks(t, map[string]func(*review.AdmissionRequest) *review.AdmissionResponse{
		"/all": func(q *review.AdmissionRequest) *review.AdmissionResponse {
			kind := func(raw []byte) string {
				var k metav1.TypeMeta
				if len(raw) == 0 || json.Unmarshal(raw, &k) != nil || k.Kind == "" {
					return "nothing"
				}
				return k.APIVersion + " " + k.Kind
			}
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintf("%s %s/%s %q: %s was %s, by %s, %s as %s", q.Operation, q.RequestResource.Resource, q.SubResource, q.Name,
				kind(q.Object.Raw), kind(q.OldObject.Raw), kind(q.Options.Raw), q.RequestKind.Version+"."+q.RequestKind.Kind, q.Kind.Version+"."+q.Kind.Kind))
			return allow(q)
		},
	})
	s := start(t)
	call(t, s, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"default"}}`)
	h.configure(t, s, "Validating", "c", h.hook("/all", `,"rules":[
		{"operations":["*"],"apiGroups":["apps"],"apiVersions":["v1"],"resources":["deployments","deployments/scale"]},
		{"operations":["*"],"apiGroups":["events.k8s.io"],"apiVersions":["v1"],"resources":["events"]},
		{"operations":["*"],"apiGroups":[""],"apiVersions":["v1"],"resources":["pods","pods/*"]}]`))
	deployment := `{"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
	event := `{"metadata":{"name":"e"},"involvedObject":{"namespace":"default"}}`
	for _, c := range []struct {
		code               int
		method, path, body string
	}{
		{201, "POST", "/apis/apps/v1/namespaces/default/deployments", deployment},
		{200, "PATCH", "/apis/apps/v1/namespaces/default/deployments/d/scale", `{"spec":{"replicas":2}}`},
		{200, "DELETE", "/apis/apps/v1/namespaces/default/deployments", ""},
		{201, "POST", "/api/v1/namespaces/default/events", event},
		{201, "POST", "/api/v1/namespaces/default/pods", `{"metadata":{"generateName":"p-"},"spec":{"containers":[{"name":"c","image":"i"}]}}`},
		{501, "POST", "/api/v1/namespaces/default/pods/p/exec?command=ls", ""},
	} {
		if code, text, _ := call(t, s, c.method, c.path, c.body); code != c.code {
			t.Errorf("%s %s: %d %s", c.method, c.path, code, text)
		}
	}
	if n := len(seen); n != 5 {
		t.Fatalf("%d calls: %v", n, seen)
	}
	seen[4] = seen[4][:strings.Index(seen[4], `"p-`)+3] + seen[4][strings.Index(seen[4], `":`):]
	const m = "meta.k8s.io/v1 "
	want := []string{
		`CREATE deployments/ "d": apps/v1 Deployment was nothing, by ` + m + `CreateOptions, v1.Deployment as v1.Deployment`,
		`UPDATE deployments/scale "d": autoscaling/v1 Scale was autoscaling/v1 Scale, by ` + m + `UpdateOptions, v1.Scale as v1.Scale`,
		`DELETE deployments/ "": nothing was apps/v1 Deployment, by ` + m + `DeleteOptions, v1.Deployment as v1.Deployment`,
		`CREATE events/ "e": events.k8s.io/v1 Event was nothing, by ` + m + `CreateOptions, v1.Event as v1.Event`,
		`CREATE pods/ "p-": v1 Pod was nothing, by ` + m + `CreateOptions, v1.Pod as v1.Pod`,
	}
	if d := cmp.Diff(want, seen); d != "" {
		t.Error(d)
	}
}

// Configurations are not subject to webhooks: a bad one can be removed.
func TestConfigurationsAreExempt(t *testing.T) {
	h := newHooks(t, map[string]func(*review.AdmissionRequest) *review.AdmissionResponse{
		"/no": func(*review.AdmissionRequest) *review.AdmissionResponse { return &review.AdmissionResponse{} },
	})
	s := start(t)
	h.configure(t, s, "Validating", "c", h.hook("/no", `,"rules":[{"operations":["*"],"apiGroups":["*"],"apiVersions":["*"],"resources":["*/*"]}]`))
	if code, text, _ := call(t, s, "POST", maps, configMap("x", "")); code != 400 {
		t.Errorf("%d %s", code, text)
	}
	if code, text, _ := call(t, s, "DELETE", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/c", ""); code != 200 {
		t.Errorf("%d %s", code, text)
	}
	eventually(t, func() bool {
		code, _, _ := call(t, s, "POST", maps, configMap("x", ""))
		return code == 201
	})
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for range 200 {
		if ok() {
			return
		}
	}
	t.Error("it never came true")
}
