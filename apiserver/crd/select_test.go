package crd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// hosts is stored as v1, in which one field says what two say in v2.
const hosts = `
metadata: {name: hosts.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: hosts, kind: Host}
  versions:
  - name: v1
    served: true
    storage: true
    selectableFields: [{jsonPath: .hostPort}]
    schema: {openAPIV3Schema: {type: object, properties: {hostPort: {type: string}}}}
  - name: v2
    served: true
    storage: false
    selectableFields: [{jsonPath: .host}, {jsonPath: .port}]
    schema: {openAPIV3Schema: {type: object, properties: {host: {type: string}, port: {type: string}}}}
`

// hostHook converts hosts.
type hostHook struct {
	*httptest.Server
	calls, objects atomic.Int64
	refuse         atomic.Bool
}

func startHostHook(t *testing.T) *hostHook {
	h := &hostHook{}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h.calls.Add(1)
		var review apiextensions.ConversionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		resp := &apiextensions.ConversionResponse{UID: review.Request.UID}
		resp.Result.Status = "Success"
		if h.refuse.Load() {
			resp.Result.Status, resp.Result.Message = "Failure", "no way"
		}
		for _, o := range review.Request.Objects {
			h.objects.Add(1)
			var v map[string]any
			if err := json.Unmarshal(o.Raw, &v); err != nil {
				t.Error(err)
			}
			v["apiVersion"] = review.Request.DesiredAPIVersion
			if strings.HasSuffix(review.Request.DesiredAPIVersion, "v2") {
				text, _ := v["hostPort"].(string)
				v["host"], v["port"], _ = strings.Cut(text, ":")
				delete(v, "hostPort")
			} else {
				v["hostPort"] = fmt.Sprintf("%v:%v", v["host"], v["port"])
				delete(v, "host")
				delete(v, "port")
			}
			v["metadata"].(map[string]any)["labels"] = map[string]any{"as": review.Request.DesiredAPIVersion[len("example.com/"):]}
			o.Raw, _ = json.Marshal(v)
			resp.ConvertedObjects = append(resp.ConvertedObjects, o)
		}
		review.Request, review.Response = nil, resp
		if err := json.NewEncoder(rw).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (w world) defineHosts(h *hostHook) {
	w.t.Helper()
	var d apiextensions.CustomResourceDefinition
	if err := yaml.Unmarshal([]byte(hosts), &d); err != nil {
		w.t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	d.Spec.Conversion = &apiextensions.CustomResourceConversion{Strategy: apiextensions.WebhookConverter, Webhook: &apiextensions.WebhookConversion{
		ClientConfig: &apiextensions.WebhookClientConfig{URL: &h.URL, CABundle: ca}, ConversionReviewVersions: []string{"v1"}}}
	b, err := yaml.Marshal(&d)
	if err != nil {
		w.t.Fatal(err)
	}
	w.define(string(b))
}

const (
	hostsV1 = "/apis/example.com/v1/namespaces/default/hosts"
	hostsV2 = "/apis/example.com/v2/namespaces/default/hosts"
)

// names sends a list and returns the names in it.
func (w world) names(path string) (out []string) {
	w.t.Helper()
	l := w.want(200, "", "GET", path, js, "")
	for _, it := range l["items"].([]any) {
		out = append(out, it.(map[string]any)["metadata"].(map[string]any)["name"].(string))
	}
	return out
}

// follow opens a watch. next is its next event as "TYPE name".
func (w world) follow(path string) (next func() string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	w.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", w.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	return func() string {
		w.t.Helper()
		if !lines.Scan() {
			return fmt.Sprint("end ", lines.Err())
		}
		var e struct {
			Type   string
			Object struct {
				Metadata struct{ Name string }
				Message  string
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			w.t.Fatal(err)
		}
		return e.Type + " " + e.Object.Metadata.Name + e.Object.Message
	}
}

// TestFieldsOfAnotherVersion checks that a field selector is about the version of the request.
func TestFieldsOfAnotherVersion(t *testing.T) {
	w, h := start(t), startHostHook(t)
	w.defineHosts(h)
	byHost, byPort := w.follow(hostsV2+"?watch=1&fieldSelector=host%3Dh1"), w.follow(hostsV2+"?watch=1&fieldSelector=host%3Dh1,port%3D80")
	stored := w.follow(hostsV1 + "?watch=1&fieldSelector=hostPort%3Dh1:80")
	make := func(name, host, port string) {
		w.want(201, "", "POST", hostsV2, js, fmt.Sprintf(`{"apiVersion":"example.com/v2","kind":"Host","metadata":{"name":%q},"host":%q,"port":%q}`, name, host, port))
	}
	make("a", "h1", "80")
	make("b", "h1", "8080")
	make("c", "h2", "")
	lists := func(want map[string][]string) {
		t.Helper()
		for query, names := range want {
			if got := w.names(query); !slices.Equal(got, names) {
				t.Errorf("%s: got %v, want %v", query, got, names)
			}
		}
	}
	lists(map[string][]string{
		hostsV2 + "?fieldSelector=host%3Dh1":                            {"a", "b"},
		hostsV2 + "?fieldSelector=host%3Dh1&limit=1":                    {"a"},
		hostsV2 + "?fieldSelector=host!%3Dh1":                           {"c"},
		hostsV2 + "?fieldSelector=host%3Dh1,port%3D80":                  {"a"},
		hostsV2 + "?fieldSelector=host%3Dh1,metadata.name%3Db":          {"b"},
		hostsV2 + "?fieldSelector=host%3Dh2,metadata.name%3Db":          nil,
		hostsV2 + "?labelSelector=as%3Dv2":                              {"a", "b", "c"},
		hostsV1 + "?labelSelector=as%3Dv2":                              nil,
		hostsV1 + "?fieldSelector=hostPort%3Dh1:80":                     {"a"},
		"/apis/example.com/v2/hosts?fieldSelector=port%3D8080":          {"b"},
		hostsV2 + "?fieldSelector=host%3Dh1,metadata.namespace%3Dother": nil,
	})
	w.want(400, "field label not supported: host", "GET", hostsV1+"?fieldSelector=host%3Dh1", js, "")
	before := h.objects.Load()
	lists(map[string][]string{hostsV2 + "?fieldSelector=host%3Dh1": {"a", "b"}})
	if n := h.objects.Load() - before; n != 0 {
		t.Errorf("the webhook was asked again for %d objects that it has converted", n)
	}
	w.want(200, "", "DELETE", hostsV2+"?fieldSelector=host%3Dh1,port%3D80", js, "")
	w.want(200, `"host":"h3"`, "PATCH", hostsV2+"/b", merge, `{"host":"h3"}`)
	lists(map[string][]string{hostsV2 + "?fieldSelector=host%3Dh1": nil, hostsV2 + "?fieldSelector=host%3Dh3": {"b"}, hostsV2: {"b", "c"}})
	for _, f := range []struct {
		name string
		next func() string
		want []string
	}{
		{"host", byHost, []string{"ADDED a", "ADDED b", "DELETED a", "DELETED b"}},
		{"host and port", byPort, []string{"ADDED a", "DELETED a"}},
		{"stored", stored, []string{"ADDED a", "DELETED a"}},
	} {
		for _, want := range f.want {
			if got := f.next(); got != want {
				t.Errorf("watch by %s: got %q, want %q", f.name, got, want)
			}
		}
	}
}

// TestFieldsThatCannotBeConverted checks what a selector that the webhook fails for answers.
func TestFieldsThatCannotBeConverted(t *testing.T) {
	w, h := start(t), startHostHook(t)
	w.defineHosts(h)
	next := w.follow(hostsV2 + "?watch=1&fieldSelector=host%3Dh1")
	h.refuse.Store(true)
	w.want(201, "", "POST", hostsV1, js, `{"apiVersion":"example.com/v1","kind":"Host","metadata":{"name":"a"},"hostPort":"h2:80"}`)
	const failure = "conversion webhook for example.com/v1, Kind=Host failed: no way"
	if got := next(); got != "ERROR "+failure {
		t.Errorf("the watch says %q", got)
	}
	if got := next(); !strings.HasPrefix(got, "end") {
		t.Errorf("the watch goes on: %q", got)
	}
	w.want(429, failure, "GET", hostsV2+"?fieldSelector=host%3Dh1", js, "")
	w.want(429, failure, "GET", hostsV2+"?fieldSelector=host%3Dh1&watch=1", js, "")
	w.want(429, failure, "GET", hostsV2+"?fieldSelector=metadata.name%3Da,host%3Dh1", js, "")
	w.want(200, `"items":[]`, "GET", hostsV2+"?fieldSelector=metadata.name%3Db,host%3Dh1", js, "")
}

// TestFieldsWithoutConversion checks versions that differ in their schema alone.
func TestFieldsWithoutConversion(t *testing.T) {
	w := start(t)
	both := "properties: {zone: {type: string}, size: {type: integer, default: 3}, "
	w.define(strings.NewReplacer("properties: {", both, "{jsonPath: .port}", "{jsonPath: .zone}, {jsonPath: .size}").Replace(hosts))
	w.want(201, "", "POST", hostsV1, js, `{"apiVersion":"example.com/v1","kind":"Host","metadata":{"name":"a"},"hostPort":"h1","zone":"z1"}`)
	w.want(201, "", "POST", hostsV2, js, `{"apiVersion":"example.com/v2","kind":"Host","metadata":{"name":"b"},"zone":"z2"}`)
	next := w.follow(hostsV2 + "?watch=1&fieldSelector=zone%3Dz1,size%3D3")
	for query, want := range map[string][]string{
		hostsV2 + "?fieldSelector=zone%3Dz1":       {"a"},
		hostsV2 + "?fieldSelector=zone!%3Dz1":      {"b"},
		hostsV2 + "?fieldSelector=size%3D3":        {"a", "b"},
		hostsV2 + "?fieldSelector=host%3D":         {"a", "b"},
		hostsV1 + "?fieldSelector=hostPort%3Dh1":   {"a"},
		hostsV1 + "?fieldSelector=hostPort%3Dh1:1": nil,
	} {
		if got := w.names(query); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
	w.want(200, "", "PATCH", hostsV1+"/a", merge, `{"zone":"z3"}`)
	for _, want := range []string{"ADDED a", "DELETED a"} {
		if got := next(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
