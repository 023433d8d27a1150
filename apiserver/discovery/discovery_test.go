package discovery

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"proa.dev/kinds/all"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func get(t *testing.T, path, accept string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Host = "proa.example:6443"
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	New(all.Kinds).ServeHTTP(w, r)
	return w
}

// Each section of the golden file is one request, "path accept", and its pretty-printed answer.
func TestGolden(t *testing.T) {
	const file = "testdata/discovery.txtar"
	const v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	var out txtar.Archive
	for _, c := range [][2]string{
		{"/api", ""}, {"/apis", ""}, {"/apis/apps", ""}, {"/api/v1/", ""}, {"/apis/apps/v1", ""}, {"/apis/events.k8s.io/v1", ""},
		{"/apis/authorization.k8s.io/v1", ""}, {"/api", v2}, {"/apis/", v2},
	} {
		w := get(t, c[0], c[1])
		var b bytes.Buffer
		fmt.Fprintf(&b, "%d %s\n", w.Code, w.Header().Get("Content-Type"))
		if err := json.Indent(&b, w.Body.Bytes(), "", " "); err != nil {
			t.Fatalf("%s: %v: %s", c[0], err, w.Body)
		}
		b.WriteByte('\n')
		out.Files = append(out.Files, txtar.File{Name: strings.TrimSpace(c[0] + " " + c[1]), Data: b.Bytes()})
	}
	got := txtar.Format(&out)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("discovery has changed (-want +got); -update rewrites %s:\n%s", file, d)
	}
}

func TestNegotiate(t *testing.T) {
	for accept, want := range map[string]string{
		"": "{false false false} true", "*/*": "{false false false} true", "application/json": "{false false false} true",
		"text/html": "{false false false} false", "text/html, */*;q=0.8": "{false false false} true",
		"application/vnd.kubernetes.protobuf,application/json":                                                 "{true false false} true",
		"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,application/json": "{false true false} true",
		"application/json;as=APIGroupDiscoveryList;v=v2beta1;g=apidiscovery.k8s.io,application/json":           "{false false false} true",
	} {
		f, ok := negotiate(accept)
		if got := fmt.Sprint(f, ok); got != want {
			t.Errorf("%q: got %s, want %s", accept, got, want)
		}
	}
}

func TestNotModified(t *testing.T) {
	tag := get(t, "/apis", "").Header().Get("ETag")
	r := httptest.NewRequest("GET", "/apis", nil)
	r.Header.Set("If-None-Match", tag)
	w := httptest.NewRecorder()
	New(all.Kinds).ServeHTTP(w, r)
	if w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("got %d with %d bytes, want 304 with none", w.Code, w.Body.Len())
	}
}

func TestUnknownPaths(t *testing.T) {
	for path, want := range map[string]int{"/apis/none": 404, "/api/v2": 404, "/apis/apps/v2": 404, "/apis/apps/v1/x": 404, "/api/": 200} {
		if got := get(t, path, "").Code; got != want {
			t.Errorf("%s: got %d, want %d", path, got, want)
		}
	}
}

func TestProtobuf(t *testing.T) {
	w := get(t, "/api/v1", protoType)
	raw, ok := bytes.CutPrefix(w.Body.Bytes(), []byte("k8s\x00"))
	var u runtime.Unknown
	var list metav1.APIResourceList
	if !ok || u.Unmarshal(raw) != nil || list.Unmarshal(u.Raw) != nil || u.Kind != "APIResourceList" || list.GroupVersion != "v1" {
		t.Errorf("got kind %q, group version %q, prefix %v", u.Kind, list.GroupVersion, ok)
	}
}
