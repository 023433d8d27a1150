package openapi

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"

	"proa.dev/kinds/all"
)

func get(t *testing.T, h http.Handler, path, accept string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

type v3Doc struct {
	Paths map[string]map[string]json.RawMessage
	Comps struct {
		Schemas map[string]struct {
			Properties map[string]map[string]any
			Required   []string
			GVK        []map[string]string `json:"x-kubernetes-group-version-kind"`
		}
	} `json:"components"`
}

func fetchV3(t *testing.T, h http.Handler, path string) v3Doc {
	t.Helper()
	w := get(t, h, path, "application/json")
	var d v3Doc
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d %v", path, w.Code, err)
	}
	return d
}

// Every kind has to be found by clients as kubectl explain and kubectl apply look for it: by its path, its patch operation's
// fieldValidation parameter, and the schema that names its group, version and kind. No reference may lead nowhere.
func TestEveryKindIsDescribed(t *testing.T) {
	h := New(all.Kinds)
	for _, v := range split(all.Kinds()) {
		doc := fetchV3(t, h, "/openapi/v3/"+v.path)
		described := map[string]bool{}
		for _, s := range doc.Comps.Schemas {
			for _, g := range s.GVK {
				described[g["group"]+"/"+g["version"]+"/"+g["kind"]] = true
			}
		}
		for _, r := range v.resources {
			if want := r.gvk.Group + "/" + r.gvk.Version + "/" + r.gvk.Kind; !described[want] {
				t.Errorf("%s: no schema for %s", v.path, want)
			}
			path := "/" + v.path + "/" + r.name
			if r.kind.Namespaced {
				path = "/" + v.path + "/namespaces/{namespace}/" + r.name
			}
			if doc.Paths[path] == nil {
				t.Errorf("%s: no path %s", v.path, path)
			}
			if patch := doc.Paths[path+"/{name}"]["patch"]; !r.kind.Virtual && !strings.Contains(string(patch), `"name":"fieldValidation"`) {
				t.Errorf("%s: patch of %s has no fieldValidation", v.path, r.name)
			}
		}
		for _, ref := range refs(t, get(t, h, "/openapi/v3/"+v.path, "").Body.Bytes()) {
			if _, ok := doc.Comps.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]; !ok {
				t.Errorf("%s: %s leads nowhere", v.path, ref)
			}
		}
	}
}

func refs(t *testing.T, body []byte) (out []string) {
	t.Helper()
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				if s, ok := x.(string); ok && k == "$ref" {
					out = append(out, s)
				}
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	walk(v)
	return out
}

func TestSchemaOfPod(t *testing.T) {
	doc := fetchV3(t, New(all.Kinds), "/openapi/v3/api/v1")
	got, err := json.Marshal(doc.Comps.Schemas["io.k8s.api.core.v1.Container"].Properties)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"x-kubernetes-list-map-keys":["containerPort","protocol"],"x-kubernetes-list-type":"map","x-kubernetes-patch-merge-key":"containerPort"`,
		`"name":{"default":"",`, `"enum":["Always","IfNotPresent","Never"]`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if got := strings.Join(doc.Comps.Schemas["io.k8s.api.core.v1.PodSpec"].Required, ","); got != "containers" {
		t.Errorf("got required fields %s, want containers", got)
	}
}

// Generators of clients name their methods after operations.
func TestStreamsAreDescribed(t *testing.T) {
	paths := fetchV3(t, New(all.Kinds), "/openapi/v3/api/v1").Paths
	const pod = "/api/v1/namespaces/{namespace}/pods/{name}"
	for path, want := range map[string]map[string]string{
		pod + "/log":                 {"get": `"operationId":"readCoreV1NamespacedPodLog"`},
		pod + "/exec":                {"post": `"operationId":"connectCoreV1PostNamespacedPodExec"`, "parameters": "name of the PodExecOptions"},
		pod + "/proxy/{path}":        {"head": `"operationId":"connectCoreV1HeadNamespacedPodProxyWithPath"`, "parameters": "path to the resource"},
		"/api/v1/nodes/{name}/proxy": {"options": `"operationId":"connectCoreV1OptionsNodeProxy"`},
	} {
		for method, text := range want {
			if got := string(paths[path][method]); !strings.Contains(got, text) {
				t.Errorf("%s of %s: got %s, want %s", method, path, got, text)
			}
		}
	}
}

func TestIndexAndHashes(t *testing.T) {
	h := New(all.Kinds)
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	w := get(t, h, "/openapi/v3", "application/json")
	if err := json.Unmarshal(w.Body.Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	u := index.Paths["apis/apps/v1"].ServerRelativeURL
	w = get(t, h, u, "*/*")
	if got := w.Header().Get("Cache-Control"); w.Code != 200 || got != "public, immutable" {
		t.Errorf("%s: got %d and Cache-Control %q", u, w.Code, got)
	}
	r := httptest.NewRequest("GET", u, nil)
	r.Header.Set("If-None-Match", w.Header().Get("ETag"))
	w = httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 304 {
		t.Errorf("got %d for a document that the client has, want 304", w.Code)
	}
	tag := r.Header.Get("If-None-Match")
	for header, want := range map[string]int{"*": 304, `"x", ` + tag: 304, "W/" + tag: 304, `"x"`: 200} {
		r := httptest.NewRequest("GET", u, nil)
		r.Header.Set("If-None-Match", header)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("If-None-Match %s: got %d, want %d", header, w.Code, want)
		}
	}
	if w := get(t, h, "/openapi/v3/apis/apps/v1?hash=OLD", ""); w.Code != 301 || w.Header().Get("Location") != u {
		t.Errorf("old hash: got %d to %s", w.Code, w.Header().Get("Location"))
	}
	if w := get(t, h, "/openapi/v3/apis/none/v1", ""); w.Code != 404 {
		t.Errorf("unknown version: got %d, want 404", w.Code)
	}
	if w := get(t, h, "/openapi/v2", "text/html"); w.Code != 406 {
		t.Errorf("HTML: got %d, want 406", w.Code)
	}
}

// What a server and its groups say of themselves is described, each in a document of its own.
func TestRoots(t *testing.T) {
	h := New(all.Kinds)
	for path, want := range map[string]string{
		"api": "getCoreAPIVersions", "apis": "getAPIVersions", "apis/rbac.authorization.k8s.io": "getRbacAuthorizationAPIGroup",
		"version": "getCodeVersion", "openid/v1/jwks": "getServiceAccountIssuerOpenIDKeyset",
	} {
		doc := get(t, h, "/openapi/v3/"+path, "").Body.String()
		if !strings.Contains(doc, `"operationId":"`+want+`"`) || !strings.Contains(doc, `"title":"Kubernetes"`) {
			t.Errorf("%s: %.300s", path, doc)
		}
		if !strings.Contains(get(t, h, "/openapi/v2", "").Body.String(), `"/`+path+`/":`) {
			t.Errorf("%s is not in the Swagger 2.0 document", path)
		}
	}
}

func TestProtobuf(t *testing.T) {
	h := New(all.Kinds)
	var v2 openapiv2.Document
	w := get(t, h, "/openapi/v2", protoV2Old)
	if err := proto.Unmarshal(w.Body.Bytes(), &v2); err != nil || w.Header().Get("Content-Type") != protoV2 {
		t.Errorf("v2: %v, %s", err, w.Header().Get("Content-Type"))
	}
	if n := len(v2.Definitions.AdditionalProperties); n < 300 {
		t.Errorf("got %d definitions", n)
	}
	var v3 openapiv3.Document
	if err := proto.Unmarshal(get(t, h, "/openapi/v3/api/v1", protoV3Old).Body.Bytes(), &v3); err != nil || len(v3.Paths.Path) < 30 {
		t.Errorf("v3: %v, %d paths", err, len(v3.Paths.Path))
	}
}

func TestGzip(t *testing.T) {
	r := httptest.NewRequest("GET", "/openapi/v3/api/v1", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	h := New(all.Kinds)
	h.ServeHTTP(w, r)
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil || string(got) != get(t, h, "/openapi/v3/api/v1", "").Body.String() {
		t.Errorf("the compressed document is another (%v)", err)
	}
}

func BenchmarkV3Core(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encodeV3(split(all.Kinds())[0], false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkV2(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encodeV2(split(all.Kinds()), false, func(tree) {}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkV2Protobuf(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encodeV2(split(all.Kinds()), true, func(tree) {}); err != nil {
			b.Fatal(err)
		}
	}
}
