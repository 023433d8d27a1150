package apiserver_test

import (
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
