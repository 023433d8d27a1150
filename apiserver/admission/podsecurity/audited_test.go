package podsecurity_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/podsecurity"
	"proa.dev/apiserver/apitest"
	"proa.dev/apiserver/audit"
	"proa.dev/client"
)

// notes is a sink that keeps the annotations of pods that were created, by namespace.
type notes struct {
	mu  sync.Mutex
	all map[string]map[string]string
}

func (n *notes) Write(events []*audit.Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range events {
		if e.Object != nil && e.Object.Resource == "pods" && e.Verb == "create" {
			n.all[e.Object.Namespace] = e.Annotations
		}
	}
	return nil
}

// TestAuditAnnotations checks what the audit log says of pods and levels.
func TestAuditAnnotations(t *testing.T) {
	p, err := audit.ParsePolicy("policy.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\nomitStages: [RequestReceived]\n"))
	if err != nil {
		t.Fatal(err)
	}
	n := &notes{all: map[string]map[string]string{}}
	log := audit.New(audit.Config{Policy: p, Sinks: []audit.Sink{n}})
	s := apitest.Start(t, func(d *apiserver.Deps) {
		d.Plugins, d.Audit = append(d.Plugins, admission.Plugin(podsecurity.New)), log
	})
	const pre = "pod-security.kubernetes.io/"
	cases := map[string]struct{ labels, want map[string]string }{
		"none":    {nil, map[string]string{"enforce-policy": "privileged:latest"}},
		"audited": {map[string]string{"audit": "baseline"}, map[string]string{"enforce-policy": "privileged:latest", "audit-violations": `would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`}},
		"refused": {map[string]string{"audit": "baseline", "enforce": "baseline", "enforce-version": "v1.30"}, map[string]string{"enforce-policy": "baseline:v1.30",
			"audit-violations": `would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`}},
		"warned": {map[string]string{"warn": "baseline"}, map[string]string{"enforce-policy": "privileged:latest"}},
	}
	for name, c := range cases {
		ns := &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
		for k, v := range c.labels {
			ns.Labels[pre+k] = v
		}
		if _, err := client.Create(t.Context(), s.Client, ns); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Create(t.Context(), s.Client, &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}}); err != nil {
			t.Fatal(err)
		}
		pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "p"}, Spec: core.PodSpec{HostNetwork: true, Containers: []core.Container{{Name: "c", Image: "i"}}}}
		if _, err := client.Create(t.Context(), s.Client, pod); (err != nil) != (name == "refused") {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for name, c := range cases {
		var got map[string]string
		for end := time.Now().Add(10 * time.Second); got == nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
			n.mu.Lock()
			got = n.all[name]
			n.mu.Unlock()
		}
		for k, v := range got {
			if short, ok := strings.CutPrefix(k, pre); ok && c.want[short] != v {
				t.Errorf("%s: %s is %q, want %q", name, k, v, c.want[short])
			}
		}
		for k, v := range c.want {
			if _, ok := got[pre+k]; !ok {
				t.Errorf("%s: no %s, want %q", name, k, v)
			}
		}
	}
}
