package rest

import (
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kinds"
)

// The causes that a change of metadata has besides those that every kind finds.
func TestMetaAgain(t *testing.T) {
	object := func(change func(*core.ConfigMap)) *core.ConfigMap {
		o := &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "n", ResourceVersion: "1"}}
		change(o)
		return o
	}
	odd := func(o *core.ConfigMap) { o.Finalizers = []string{"odd"} }
	for _, c := range []struct {
		path   string
		status bool
		change func(*core.ConfigMap)
		want   string
	}{
		{"v1/configmaps", false, func(*core.ConfigMap) {}, ""},
		{"v1/configmaps", false, func(o *core.ConfigMap) { o.Finalizers = []string{"example.com/x", "kubernetes"} }, ""},
		{"v1/configmaps", false, odd, "metadata.finalizers[0] metadata.finalizers[0] "},
		{"v1/configmaps", true, odd, "metadata.finalizers[0] "},
		{"v1/services", false, odd, "metadata.finalizers[0] "},
		{"coordination.k8s.io/v1/leases", false, odd, ""},
		{"policy/v1/poddisruptionbudgets", false, odd, ""},
		{"v1/events", false, odd, ""},
		{"events.k8s.io/v1/events", false, odd, "metadata.finalizers[0] "},
		{"batch/v1/cronjobs", false, odd, "metadata.finalizers[0] "},
		{"batch/v1/cronjobs", true, odd, ""},
		{"v1/limitranges", false, odd, "metadata.finalizers[0] "},
		{"certificates.k8s.io/v1/certificatesigningrequests", true, odd, "metadata.finalizers[0] metadata.finalizers[0] "},
		{"v1/configmaps", false, func(o *core.ConfigMap) { o.GenerateName = "Bad_" }, "metadata.generateName "},
		{"v1/services", false, func(o *core.ConfigMap) { o.GenerateName = "Bad_" }, ""},
	} {
		s := &Served{Resource: kinds.ParsePath(c.path), Kind: &kinds.Kind{Resource: kinds.ParsePath(c.path), Name: kinds.SubdomainName}}
		s.Namespaced = true
		got := ""
		for _, err := range metaAgain(s, change{status: c.status}, object(c.change), object(func(*core.ConfigMap) {}), false) {
			got += err.Field + " "
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.path, got, c.want)
		}
	}
}

func TestCheckTarget(t *testing.T) {
	for _, c := range []struct{ kind, name, want string }{
		{"Node", "n1", ""},
		{"", "n1", ""},
		{"Node", "", "target.name: Required value"},
		{"Pod", "n1", `target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"`},
		{"Node", "Bad_", `target.name: Invalid value: "Bad_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, ` +
			`'-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is ` +
			`'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`},
	} {
		got := ""
		if err := checkTarget(&core.Binding{Target: core.ObjectReference{Kind: c.kind, Name: c.name}}); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s %s: %q, want %q", c.kind, c.name, got, c.want)
		}
	}
}
