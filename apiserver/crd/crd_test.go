package crd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	kind "proa.dev/kinds/apiextensions"
	"proa.dev/object"
)

const gadgets = `
metadata: {name: gadgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gadgets, kind: Gadget, shortNames: [gd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    selectableFields: [{jsonPath: .spec.color}]
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations: [{rule: self.size >= oldSelf.size, message: may not shrink}]
            properties:
              size: {type: integer, minimum: 1}
              color: {type: string, default: red}
              replicas: {type: integer}
          status: {type: object, properties: {replicas: {type: integer}}}
  - name: v2
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}
`

// world is a server and requests to it.
type world struct {
	*apitest.Server
	t *testing.T
}

// send sends a request and returns the code and the answer.
func (w world) send(method, path, contentType, body string) (int, map[string]any) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(b, &out); err != nil {
		out["message"] = string(b)
	}
	return resp.StatusCode, out
}

// want sends a request and fails unless it is answered with this code and, if given, this text.
func (w world) want(code int, text, method, path, contentType, body string) map[string]any {
	w.t.Helper()
	got, out := w.send(method, path, contentType, body)
	all, err := json.Marshal(out)
	if err != nil {
		w.t.Fatal(err)
	}
	if got != code || !bytes.Contains(all, []byte(text)) {
		w.t.Fatalf("%s %s: got %d %s, want %d with %q", method, path, got, all, code, text)
	}
	return out
}

func start(t *testing.T) world { return world{apitest.Start(t), t} }

// define creates a definition and waits until it is established.
func (w world) define(text string) {
	w.t.Helper()
	var d apiextensions.CustomResourceDefinition
	if err := yaml.UnmarshalStrict([]byte(text), &d); err != nil {
		w.t.Fatal(err)
	}
	if _, err := client.Create(w.t.Context(), w.Client, &d); err != nil {
		w.t.Fatal(err)
	}
	w.until("established", func() bool {
		d, ok := client.Lookup[apiextensions.CustomResourceDefinition](w.View(), object.KeyOf(&d))
		return ok && kind.True(d, apiextensions.Established)
	})
}

func (w world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("not %s after 10 s", what)
		}
	}
}

const (
	at    = "/apis/example.com/v1/namespaces/default/gadgets"
	js    = "application/json"
	merge = "application/merge-patch+json"
)

func gadget(name, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"example.com/v1","kind":"Gadget","metadata":{"name":%q},"spec":%s}`, name, spec)
}

func TestServesAtOnce(t *testing.T) {
	w := start(t)
	w.want(404, "", "GET", at, js, "")
	w.define(gadgets)
	o := w.want(201, `"color":"red"`, "POST", at, js, gadget("a", `{"size":3,"bogus":1}`))
	if spec := o["spec"].(map[string]any); spec["bogus"] != nil {
		t.Errorf("an unknown field was kept: %v", spec)
	}
	w.want(422, "spec.size", "POST", at, js, gadget("b", `{"size":0}`))
	w.want(400, `unknown field \"spec.bogus\"`, "POST", at+"?fieldValidation=Strict", js, gadget("b", `{"size":1,"bogus":1}`))
	w.want(422, "may not shrink", "PATCH", at+"/a", merge, `{"spec":{"size":2}}`)
	w.want(422, "must be specified for an update", "PUT", at+"/a", js, gadget("a", `{"size":4}`))
	w.want(200, `"generation":2`, "PATCH", at+"/a", merge, `{"spec":{"size":4},"status":{"replicas":9}}`)
	w.want(200, `"replicas":2`, "PATCH", at+"/a/status", merge, `{"status":{"replicas":2},"spec":{"size":9}}`)
	w.want(200, `"kind":"Scale"`, "PATCH", at+"/a/scale", merge, `{"spec":{"replicas":5}}`)
	w.want(200, `"size":4`, "GET", at+"/a", js, "")
	w.want(200, `"items":[{`, "GET", at+"?fieldSelector=spec.color%3Dred", js, "")
	w.want(200, `"items":[]`, "GET", at+"?fieldSelector=spec.color%3Dblue", js, "")
	w.want(400, "field label not supported", "GET", at+"?fieldSelector=spec.size%3D1", js, "")
	w.want(415, "", "PATCH", at+"/a", "application/strategic-merge-patch+json", `{}`)
	w.want(200, `"replicas":6`, "PUT", at+"/a/scale", js, `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"a"},"spec":{"replicas":6}}`)
	w.want(422, "metadata.resourceVersion: Invalid value: 0: must be specified for an update", "PATCH", at+"/a", merge, `{"metadata":{"resourceVersion":null}}`)
	w.want(422, `must be Gadget`, "PATCH", at+"/a", merge, `{"kind":"Foo"}`)
	w.want(405, `"message":" is not supported on resources of kind`, "OPTIONS", at, js, "")
	w.want(201, `"name":"b"`, "POST", at+"/other", js, gadget("b", `{"size":3}`)) // the path's name is not looked at
	w.want(400, "name must be provided", "PUT", at, js, gadget("a", `{"size":4}`))
	w.want(400, "name must be provided", "PATCH", at, merge, `{}`)
	for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
		w.want(404, "", method, "/apis/example.com/v1/gadgets/a", js, gadget("a", `{"size":4}`))
	}
	w.want(404, "", "DELETE", "/apis/example.com/v1/gadgets", js, "")
	w.want(200, `"items":[{`, "GET", "/apis/example.com/v1/gadgets", js, "")
	w.want(200, `"gadgets/scale"`, "GET", "/apis/example.com/v1", js, "")
	w.want(200, `"com.example.v1.Gadget"`, "GET", "/openapi/v2", js, "")
	w.want(200, `"com.example.v2.GadgetList"`, "GET", "/openapi/v3/apis/example.com/v2", js, "")
}

func TestVersionsOfOneObject(t *testing.T) {
	w := start(t)
	w.define(gadgets)
	w.want(201, "", "POST", at, js, gadget("a", `{"size":3}`))
	v2 := strings.Replace(at, "v1", "v2", 1)
	w.want(200, `"apiVersion":"example.com/v2"`, "GET", v2+"/a", js, "")
	o := w.want(200, `"size":5`, "PATCH", v2+"/a", merge, `{"spec":{"size":5,"more":true}}`)
	if spec := o["spec"].(map[string]any); spec["more"] != nil {
		t.Errorf("a field is shown that the stored version does not know: %v", spec)
	}
	w.want(200, `"size":5`, "GET", at+"/a", js, "")
	w.want(422, "may not shrink", "PATCH", at+"/a", merge, `{"spec":{"size":4}}`)
}

func TestApply(t *testing.T) {
	w := start(t)
	w.define(gadgets)
	const apply = "application/apply-patch+yaml"
	w.want(201, `"color":"red"`, "PATCH", at+"/a?fieldManager=one", apply, gadget("a", `{"size":3}`))
	w.want(409, `conflict with \"one\"`, "PATCH", at+"/a?fieldManager=two", apply, gadget("a", `{"size":4}`))
	w.want(200, `"size":4`, "PATCH", at+"/a?fieldManager=two&force=true", apply, gadget("a", `{"size":4}`))
	w.want(500, "field not declared in schema", "PATCH", at+"/a?fieldManager=two", apply, gadget("a", `{"bogus":4}`))
}

func TestDeletionEmptiesAndWithdraws(t *testing.T) {
	w := start(t)
	w.define(gadgets)
	const crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.example.com"
	held := strings.Replace(gadget("held", `{"size":3}`), `"name"`, `"finalizers":["example.com/x"],"name"`, 1)
	w.want(201, "", "POST", at, js, held)
	w.want(201, "", "POST", at, js, gadget("free", `{"size":3}`))
	w.want(200, "InstanceDeletionPending", "DELETE", crds, js, "")
	w.until("emptied", func() bool { code, _ := w.send("GET", at+"/free", js, ""); return code == 404 })
	w.want(403, "create not allowed while custom resource definition is terminating", "POST", at, js, gadget("new", `{"size":3}`))
	w.until("marked", func() bool {
		_, out := w.send("GET", at+"/held", js, "")
		return out["metadata"].(map[string]any)["deletionTimestamp"] != nil
	})
	w.want(200, "", "PATCH", at+"/held", merge, `{"metadata":{"finalizers":null}}`)
	w.until("gone", func() bool { code, _ := w.send("GET", crds, js, ""); return code == 404 })
	w.until("withdrawn", func() bool { code, _ := w.send("GET", at, js, ""); return code == 404 })
}

func TestNamesConflict(t *testing.T) {
	w := start(t)
	w.define(gadgets)
	other := strings.NewReplacer("gadgets.example.com", "others.example.com", "plural: gadgets", "plural: others").Replace(gadgets)
	var d apiextensions.CustomResourceDefinition
	if err := yaml.Unmarshal([]byte(other), &d); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), w.Client, &d); err != nil {
		t.Fatal(err)
	}
	find := func() *apiextensions.CustomResourceDefinitionCondition {
		d, _ := client.Lookup[apiextensions.CustomResourceDefinition](w.View(), object.Key{Name: "others.example.com"})
		return kind.Find(d, apiextensions.NamesAccepted)
	}
	w.until("judged", func() bool { return find() != nil })
	if c := find(); c.Status != apiextensions.ConditionFalse || c.Reason != "ListKindConflict" || c.Message != `"GadgetList" is already in use` {
		t.Errorf("got %+v", c)
	}
	if err := client.Delete[apiextensions.CustomResourceDefinition](t.Context(), w.Client, object.Key{Name: "gadgets.example.com"}, ""); err != nil {
		t.Fatal(err)
	}
	w.until("free", func() bool { return find().Status == apiextensions.ConditionTrue })
}

func TestSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	w := world{apitest.StartIn(t, dir), t}
	w.define(gadgets)
	w.want(201, "", "POST", at, js, gadget("a", `{"size":3}`))
	w.Stop()
	w = world{apitest.StartIn(t, dir), t}
	w.want(200, `"size":3`, "GET", at+"/a", js, "")
}

// TestConversionWebhook keeps objects stored in two versions and reads them in one list.
func TestConversionWebhook(t *testing.T) {
	calls, refuse := 0, false
	hook := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		calls++
		var review apiextensions.ConversionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		resp := &apiextensions.ConversionResponse{UID: review.Request.UID}
		resp.Result.Status = "Success"
		if refuse {
			resp.Result.Status, resp.Result.Message = "Failure", "no way"
		}
		for _, o := range review.Request.Objects {
			var v map[string]any
			if err := json.Unmarshal(o.Raw, &v); err != nil {
				t.Error(err)
			}
			v["apiVersion"] = review.Request.DesiredAPIVersion
			v["spec"].(map[string]any)["via"] = "hook"
			o.Raw, _ = json.Marshal(v)
			resp.ConvertedObjects = append(resp.ConvertedObjects, o)
		}
		review.Request, review.Response = nil, resp
		if err := json.NewEncoder(rw).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	defer hook.Close()
	w := start(t)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
	var d apiextensions.CustomResourceDefinition
	text := strings.ReplaceAll(gadgets, "replicas: {type: integer}\n          status", "via: {type: string}\n              replicas: {type: integer}\n          status")
	if err := yaml.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	d.Spec.Conversion = &apiextensions.CustomResourceConversion{Strategy: apiextensions.WebhookConverter, Webhook: &apiextensions.WebhookConversion{
		ClientConfig: &apiextensions.WebhookClientConfig{URL: &hook.URL, CABundle: ca}, ConversionReviewVersions: []string{"v1"}}}
	b, err := yaml.Marshal(&d)
	if err != nil {
		t.Fatal(err)
	}
	w.define(string(b))
	w.want(201, "", "POST", at, js, gadget("a", `{"size":3}`))
	if calls != 0 {
		t.Errorf("the webhook was called %d times for an object of the stored version", calls)
	}
	const crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.example.com"
	w.want(200, "", "PATCH", crds, "application/json-patch+json", `[{"op":"replace","path":"/spec/versions/0/storage","value":false},{"op":"replace","path":"/spec/versions/1/storage","value":true}]`)
	w.until("stored in v2", func() bool {
		_, out := w.send("GET", crds, js, "")
		all, _ := json.Marshal(out)
		return bytes.Contains(all, []byte(`"storedVersions":["v1","v2"]`))
	})
	v2 := strings.Replace(at, "v1", "v2", 1)
	w.until("served", func() bool {
		code, _ := w.send("POST", v2, js, strings.Replace(gadget("b", `{"size":3}`), "/v1", "/v2", 1))
		return code == 201 || code == 409
	})
	calls = 0
	l := w.want(200, `"via":"hook"`, "GET", v2, js, "")
	if n := len(l["items"].([]any)); n != 2 || calls != 1 {
		t.Errorf("%d objects by %d calls, want 2 by 1", n, calls)
	}
	w.want(201, `"via":"hook"`, "POST", at+"?dryRun=All", js, gadget("c", `{"size":3}`)) // as it would come back from the store
	refuse = true
	const failed = "conversion webhook for example.com/v1, Kind=Gadget failed: no way"
	w.want(500, failed, "GET", v2+"/a", js, "")
	w.want(500, failed, "POST", at+"?dryRun=All", js, gadget("c", `{"size":3}`))
	for _, path := range []string{v2, v2 + "?watch=1"} {
		w.want(429, "storage is (re)initializing: failed to list example.com/v2, Kind=Gadget: "+failed, "GET", path, js, "")
	}
}

// TestEndsWatchesOfWhatIsGone checks that a watch ends with the definition.
func TestEndsWatchesOfWhatIsGone(t *testing.T) {
	w := start(t)
	w.define(gadgets)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", w.URL+at+"?watch=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	w.want(201, "", "POST", at, js, gadget("a", `{"size":3}`))
	w.want(200, "", "DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.example.com", js, "")
	b, err := io.ReadAll(resp.Body) // ends when the watch does
	if err != nil || !bytes.Contains(b, []byte(`"ADDED"`)) || !bytes.Contains(b, []byte(`"DELETED"`)) {
		t.Errorf("got %s, %v", b, err)
	}
}
