package rules

import (
	"testing"

	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"proa.dev/apiserver/admission"
	"proa.dev/kinds"
	"proa.dev/kinds/core"
	"proa.dev/object"
)

func rule(op, group, version, resource string, scope registration.ScopeType) registration.RuleWithOperations {
	return registration.RuleWithOperations{Operations: []registration.OperationType{registration.OperationType(op)},
		Rule: registration.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}, Scope: &scope}}
}

// request is about resource k in the version that served names, "" being the stored one.
func request(k *kinds.Kind, served, sub string, key object.Key) *admission.Request {
	r := &admission.Request{Op: admission.Update, Kind: k, Served: k.Resource, Sub: sub, Key: key}
	if served != "" {
		r.Served.GroupVersionResource = kinds.ParsePath(served).GroupVersionResource
	}
	r.Body = r.Served.GVK()
	return r
}

func TestFind(t *testing.T) {
	pods, events, namespaces := core.Pod.Kind(), core.Event.Kind(), core.Namespace.Kind()
	in := object.Key{Namespace: "ns", Name: "x"}
	for _, tt := range []struct {
		name   string
		r      *admission.Request
		rule   registration.RuleWithOperations
		policy registration.MatchPolicyType
		want   string // the version in which it is seen; "" is no match
	}{
		{"all", request(pods, "", "", in), rule("*", "*", "*", "*", "*"), "Exact", "v1"},
		{"operation", request(pods, "", "", in), rule("CREATE", "*", "*", "*", "*"), "Exact", ""},
		{"group", request(pods, "", "", in), rule("UPDATE", "apps", "*", "*", "*"), "Exact", ""},
		{"core group", request(pods, "", "", in), rule("UPDATE", "", "v1", "pods", "*"), "Exact", "v1"},
		{"wildcard has no subresources", request(pods, "", "status", in), rule("UPDATE", "", "v1", "*", "*"), "Exact", ""},
		{"resource has no subresources", request(pods, "", "status", in), rule("UPDATE", "", "v1", "pods", "*"), "Exact", ""},
		{"its subresources", request(pods, "", "status", in), rule("UPDATE", "", "v1", "pods/*", "*"), "Exact", "v1"},
		{"with itself", request(pods, "", "", in), rule("UPDATE", "", "v1", "pods/*", "*"), "Exact", "v1"},
		{"one subresource", request(pods, "", "status", in), rule("UPDATE", "", "v1", "*/status", "*"), "Exact", "v1"},
		{"everything", request(pods, "", "status", in), rule("UPDATE", "", "v1", "*/*", "*"), "Exact", "v1"},
		{"namespaced", request(pods, "", "", in), rule("UPDATE", "", "v1", "pods", "Namespaced"), "Exact", "v1"},
		{"not cluster", request(pods, "", "", in), rule("UPDATE", "", "v1", "pods", "Cluster"), "Exact", ""},
		{"namespaces are cluster", request(namespaces, "", "", object.Key{Name: "x"}), rule("UPDATE", "", "v1", "*", "Cluster"), "Exact", "v1"},
		{"and not namespaced", request(namespaces, "", "", object.Key{Name: "x"}), rule("UPDATE", "", "v1", "*", "Namespaced"), "Exact", ""},
		{"other version", request(events, "", "", in), rule("UPDATE", "events.k8s.io", "v1", "events", "*"), "Exact", ""},
		{"equivalent", request(events, "", "", in), rule("UPDATE", "events.k8s.io", "v1", "events", "*"), "Equivalent", "events.k8s.io/v1"},
		{"equivalent to what is stored", request(events, "events.k8s.io/v1/events", "", in), rule("UPDATE", "", "v1", "events", "*"), "Equivalent", "v1"},
		{"as asked", request(events, "events.k8s.io/v1/events", "", in), rule("UPDATE", "*", "v1", "events", "*"), "Equivalent", "events.k8s.io/v1"},
	} {
		m, ok := Find(tt.r, []registration.RuleWithOperations{tt.rule}, &tt.policy)
		got := ""
		if ok {
			got = m.Kind.GroupVersion().String()
		}
		if got != tt.want || ok && m.Resource.GroupVersion() != m.Kind.GroupVersion() {
			t.Errorf("%s: got %q (%v), want %q", tt.name, got, m, tt.want)
		}
	}
}

func TestFindNamed(t *testing.T) {
	r := request(core.Pod.Kind(), "", "", object.Key{Namespace: "ns", Name: "x"})
	for name, want := range map[string]bool{"x": true, "y": false} {
		named := registration.NamedRuleWithOperations{ResourceNames: []string{name}, RuleWithOperations: rule("*", "*", "*", "*", "*")}
		if _, ok := FindNamed(r, []registration.NamedRuleWithOperations{named}, ptr.To(registration.Exact)); ok != want {
			t.Errorf("resource name %s: got %v", name, ok)
		}
	}
}

func TestSelectors(t *testing.T) {
	k := core.Namespace.Kind()
	labelled := func(v string) object.Object {
		o := k.New()
		o.SetLabels(map[string]string{"a": v})
		return o
	}
	s, err := Select(&metav1.LabelSelector{MatchLabels: map[string]string{"a": "new"}}, &metav1.LabelSelector{MatchLabels: map[string]string{"a": "old"}})
	if err != nil {
		t.Fatal(err)
	}
	r := request(k, "", "", object.Key{Name: "x"})
	r.Object, r.Old = labelled("new"), labelled("old")
	if ok, err := s.MatchesNamespace(r, nil); !ok || err != nil {
		t.Errorf("a namespace is judged by the labels it will have: got %v, %v", ok, err)
	}
	if !s.MatchesObject(r) {
		t.Error("an object is judged by the labels it had, too")
	}
	r.Op, r.Object = admission.Delete, nil
	if ok, err := s.MatchesNamespace(r, nil); ok || err != nil {
		t.Errorf("a namespace that goes is judged by the labels it has: got %v, %v", ok, err)
	}
}

func TestExempt(t *testing.T) {
	k := *core.Pod.Kind()
	k.Group, k.Resource.Kind = registration.GroupName, "MutatingAdmissionPolicyBinding"
	if !Exempt(request(&k, "", "", object.Key{})) || Exempt(request(core.Pod.Kind(), "", "", object.Key{})) {
		t.Error("only the configuration of admission is exempt")
	}
}
