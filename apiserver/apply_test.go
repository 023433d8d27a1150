package apiserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/apitest"
)

func TestServerSideApply(t *testing.T) {
	s := apitest.Start(t)
	const path = "/apis/apps/v1/namespaces/default/deployments/d"
	const kind = "application/apply-patch+yaml"
	opinion := func(image string, more string) string {
		return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{` + more + `"selector":{"matchLabels":{"a":"b"}},
"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"` + image + `","ports":[{"containerPort":80}]}]}}}}`
	}
	type deployment struct {
		Metadata metav1.ObjectMeta
		Spec     struct {
			Replicas int
			Template struct {
				Spec struct {
					Containers []struct{ Name, Image string }
				}
			}
		}
	}
	var d deployment
	mustCall(t, s, 422, "PATCH", path, kind, opinion("1", ""), nil) // no manager
	mustCall(t, s, 201, "PATCH", path+"?fieldManager=one", kind, opinion("1", `"replicas":2,`), &d)
	if d.Spec.Replicas != 2 || len(d.Metadata.ManagedFields) != 1 {
		t.Errorf("created: %+v", d)
	}
	version := d.Metadata.ResourceVersion
	mustCall(t, s, 200, "PATCH", path+"?fieldManager=one", kind, opinion("1", `"replicas":2,`), &d)
	if d.Metadata.ResourceVersion != version {
		t.Error("the same opinion again was a write")
	}
	var st metav1.Status
	mustCall(t, s, 409, "PATCH", path+"?fieldManager=two", kind, opinion("2", ""), &st)
	if want := `Apply failed with 1 conflict: conflict with "one": .spec.template.spec.containers[name="c"].image`; st.Message != want {
		t.Errorf("got %s\nwant %s", st.Message, want)
	}
	mustCall(t, s, 200, "PATCH", path+"?fieldManager=two&force=true", kind, opinion("2", ""), &d)
	// One gives up its opinion of the replicas: nobody has one any more, so the default is back.
	mustCall(t, s, 200, "PATCH", path+"?fieldManager=one&force=true", kind, opinion("1", ""), &d)
	if d.Spec.Replicas != 1 || d.Spec.Template.Spec.Containers[0].Image != "1" {
		t.Errorf("after one gave up: %+v", d.Spec)
	}
	// A write that is no apply takes what it changes: from somebody, where it is by way of the scale.
	mustCall(t, s, 200, "PATCH", path+"?fieldManager=one", kind, opinion("1", `"replicas":2,`), nil)
	mustCall(t, s, 200, "PATCH", path+"/scale?fieldManager=scaler", "application/merge-patch+json", `{"spec":{"replicas":5}}`, nil)
	mustCall(t, s, 409, "PATCH", path+"?fieldManager=one", kind, opinion("1", `"replicas":2,`), &st)
	if !strings.Contains(st.Message, `conflict with "scaler" with subresource "scale" using apps/v1: .spec.replicas`) {
		t.Error(st.Message)
	}
	mustCall(t, s, 400, "PATCH", path+"?fieldManager=one", kind, "{", nil)
	mustCall(t, s, 500, "PATCH", path+"?fieldManager=one&fieldValidation=Strict", kind, opinion("1", `"foo":2,`), &st)
	if !strings.Contains(st.Message, ".spec.foo: field not declared in schema") {
		t.Error(st.Message)
	}

	// Who creates an object owns its fields, until the bookkeeping is stopped; then the next apply begins it anew.
	mustCall(t, s, 201, "POST", cms+"?fieldManager=maker", "", newConfigMap("plain", `"a":"b"`), nil)
	var o deployment
	mustCall(t, s, 200, "GET", cms+"/plain", "", nil, &o)
	if f := o.Metadata.ManagedFields; len(f) != 1 || f[0].Manager != "maker" || f[0].Operation != metav1.ManagedFieldsOperationUpdate {
		t.Errorf("managed fields after the create: %v", f)
	}
	mustCall(t, s, 200, "PATCH", cms+"/plain", "application/merge-patch+json", `{"metadata":{"managedFields":[{}]}}`, nil)
	o = deployment{}
	mustCall(t, s, 200, "PATCH", cms+"/plain", "application/merge-patch+json", `{"data":{"c":"d"}}`, &o)
	if len(o.Metadata.ManagedFields) != 0 {
		t.Errorf("managed fields after they were cleared: %v", o.Metadata.ManagedFields)
	}
	mustCall(t, s, 200, "PATCH", cms+"/plain?fieldManager=one", kind, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"plain"},"data":{"a":"b"}}`, &o)
	if f := o.Metadata.ManagedFields; len(f) != 2 || f[1].Manager != "before-first-apply" {
		t.Errorf("managed fields after an apply: %v", f)
	}
}

// What a subresource's apply owns, and what is owned in another version of a kind, stays as it is written down.
func TestApplyElsewhere(t *testing.T) {
	s := apitest.Start(t)
	const kind = "application/apply-patch+yaml"
	owned := func(o metav1.PartialObjectMetadata, manager string) string {
		for _, f := range o.ManagedFields {
			if f.Manager == manager {
				return f.FieldsV1.GetRawString()
			}
		}
		return ""
	}
	var o metav1.PartialObjectMetadata
	mustCall(t, s, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "", `{"metadata":{"name":"default"}}`, nil)
	mustCall(t, s, 201, "POST", "/api/v1/namespaces/default/pods", "", `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}`, nil)
	pod := "/api/v1/namespaces/default/pods/p/ephemeralcontainers?fieldManager=one"
	mustCall(t, s, 200, "PATCH", pod, kind, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"ephemeralContainers":[{"name":"e","image":"i"}]}}`, &o)
	if got, want := owned(o, "one"), `{"f:spec":{"f:ephemeralContainers":{"k:{\"name\":\"e\"}":{".":{},"f:image":{},"f:name":{}}}}}`; got != want {
		t.Errorf("an ephemeral container's owner has %s, want %s", got, want)
	}
	mustCall(t, s, 422, "PATCH", pod, kind, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"ephemeralContainers":[]}}`, nil)

	// The reference is owned in parts in v2, and as a whole in v1.
	const hpas = "/namespaces/default/horizontalpodautoscalers"
	scaler := `{"apiVersion":"autoscaling/%s","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{"maxReplicas":%s,"scaleTargetRef":{"kind":"Deployment","name":"d","apiVersion":"apps/v1"}}}`
	mustCall(t, s, 201, "PATCH", "/apis/autoscaling/v2"+hpas+"/h?fieldManager=one", kind, fmt.Sprintf(scaler, "v2", "4"), nil)
	mustCall(t, s, 200, "PUT", "/apis/autoscaling/v1"+hpas+"/h?fieldManager=two", "", fmt.Sprintf(scaler, "v1", "9"), &o)
	if got, want := owned(o, "one"), `{"f:spec":{"f:scaleTargetRef":{"f:apiVersion":{},"f:kind":{},"f:name":{}}}}`; got != want {
		t.Errorf("who has applied v2 has %s after a write to v1, want %s", got, want)
	}
	// What was applied in v2 is not taken away by an opinion in v1 that does not know of it; the same once more changes nothing.
	ofCPU := `4,"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":60}}}]`
	mustCall(t, s, 200, "PATCH", "/apis/autoscaling/v2"+hpas+"/h?fieldManager=one&force=true", kind, fmt.Sprintf(scaler, "v2", ofCPU), nil)
	for range 2 {
		var h struct {
			Spec struct{ TargetCPUUtilizationPercentage int }
		}
		mustCall(t, s, 200, "PATCH", "/apis/autoscaling/v1"+hpas+"/h?fieldManager=one&force=true", kind, fmt.Sprintf(scaler, "v1", "4"), &h)
		if h.Spec.TargetCPUUtilizationPercentage != 60 {
			t.Errorf("applied in v1: %+v", h)
		}
	}
}

// Clients that say nothing readable of themselves, and owners said twice.
func TestNamesAndOwnersOfWrites(t *testing.T) {
	s := apitest.Start(t)
	send := func(method, path, kind, agent, body string) (o metav1.PartialObjectMetadata, warnings string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		r.Header.Set("User-Agent", agent)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&o); err != nil || res.StatusCode > 201 {
			t.Fatalf("%s %s: %d, %v", method, path, res.StatusCode, err)
		}
		return o, res.Header.Get("Warning")
	}
	for name, c := range map[string]struct{ agent, manager string }{"tab": {"a\tb/1", "ab"}, "long": {strings.Repeat("\u00fc", 80) + "/1", strings.Repeat("\u00fc", 64)}} {
		o, _ := send("POST", cms, "application/json", c.agent, `{"metadata":{"name":"`+name+`"},"data":{"a":"b"}}`)
		if got := o.ManagedFields[0].Manager; got != c.manager {
			t.Errorf("the manager of %q is %q, want %q", c.agent, got, c.manager)
		}
	}
	const owner = `{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u"}`
	body := `{"metadata":{"name":"owned","ownerReferences":[` + owner + `,` + owner + `]}}`
	if o, w := send("POST", cms, "application/json", "t", body); len(o.OwnerReferences) != 1 || !strings.Contains(w, "contains duplicate entries; API server") {
		t.Errorf("created with %v and the warning %s", o.OwnerReferences, w)
	}
	if o, w := send("PATCH", cms+"/owned", "application/merge-patch+json", "t", body); len(o.OwnerReferences) != 1 || !strings.Contains(w, "contains duplicate entries after mutating admission happens; API server") {
		t.Errorf("patched with %v and the warning %s", o.OwnerReferences, w)
	}
}
