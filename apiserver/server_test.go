package apiserver_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/object"
)

// call makes one request and decodes the answer into out, which may be nil.
func call(t *testing.T, s *apitest.Server, method, path, contentType string, body any, out any) int {
	t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = bytes.NewReader([]byte(b))
	default:
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, in)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			t.Fatalf("%s %s: %s: %v", method, path, data, err)
		}
	}
	return res.StatusCode
}

func TestLifeOfAConfigMap(t *testing.T) {
	s := apitest.Start(t)
	const path = "/api/v1/namespaces/default/configmaps"
	var got core.ConfigMap
	if code := call(t, s, "POST", path, "", `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":"1"}}`, &got); code != 201 {
		t.Fatalf("create: %d", code)
	}
	if got.UID == "" || got.ResourceVersion == "" || got.CreationTimestamp.IsZero() || got.Namespace != "default" {
		t.Errorf("created %+v", got.ObjectMeta)
	}
	var st metav1.Status
	if code := call(t, s, "POST", path, "", `{"metadata":{"name":"a"}}`, &st); code != 409 || st.Message != `configmaps "a" already exists` {
		t.Errorf("create again: %d %s", code, st.Message)
	}
	first := got.ResourceVersion
	got.Data["k"] = "2"
	if code := call(t, s, "PUT", path+"/a", "", got, &got); code != 200 || got.ResourceVersion == first {
		t.Errorf("update: %d, %s -> %s", code, first, got.ResourceVersion)
	}
	second := got.ResourceVersion
	if code := call(t, s, "PUT", path+"/a", "", got, &got); code != 200 || got.ResourceVersion != second {
		t.Errorf("update without a change: %d, %s -> %s", code, second, got.ResourceVersion)
	}
	got.ResourceVersion = first
	want := `Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again`
	if code := call(t, s, "PUT", path+"/a", "", got, &st); code != 409 || st.Message != want {
		t.Errorf("stale update: %d %s", code, st.Message)
	}
	for kind, patch := range map[string]string{
		"application/merge-patch+json":           `{"data":{"merge":"x"}}`,
		"application/strategic-merge-patch+json": `{"data":{"strategic":"x"}}`,
		"application/json-patch+json":            `[{"op":"add","path":"/data/json","value":"x"}]`,
	} {
		if code := call(t, s, "PATCH", path+"/a", kind, patch, &got); code != 200 {
			t.Errorf("%s: %d", kind, code)
		}
	}
	if len(got.Data) != 4 {
		t.Errorf("patched data: %v", got.Data)
	}
	o, ok := client.Lookup[core.ConfigMap](s.View(), object.Key{Namespace: "default", Name: "a"})
	if !ok || o.ResourceVersion != got.ResourceVersion {
		t.Errorf("the view has %v, want version %s", o, got.ResourceVersion)
	}
	if code := call(t, s, "DELETE", path+"/a", "", nil, &st); code != 200 || st.Status != "Success" || st.Details.UID != got.UID {
		t.Errorf("delete: %d %+v", code, st)
	}
	if code := call(t, s, "GET", path+"/a", "", nil, &st); code != 404 || st.Message != `configmaps "a" not found` {
		t.Errorf("get after delete: %d %s", code, st.Message)
	}
}
