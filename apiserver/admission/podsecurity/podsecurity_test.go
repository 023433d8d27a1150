package podsecurity_test

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/podsecurity"
	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/object"
)

func TestLevels(t *testing.T) {
	s := apitest.Start(t, func(d *apiserver.Deps) { d.Plugins = append(d.Plugins, admission.Plugin(podsecurity.New)) })
	label := func(mode string) string { return "pod-security.kubernetes.io/" + mode }
	for name, level := range map[string]string{"loose": "", "base": "baseline", "strict": "restricted"} {
		ns := &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if level != "" {
			ns.Labels = map[string]string{label("enforce"): level}
		}
		if _, err := client.Create(t.Context(), s.Client, ns); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Create(t.Context(), s.Client, &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}}); err != nil {
			t.Fatal(err)
		}
	}
	yes, no := true, false
	pods := map[string]core.PodSpec{
		"plain": {Containers: []core.Container{{Name: "c", Image: "i"}}},
		"root":  {HostNetwork: true, Containers: []core.Container{{Name: "c", Image: "i", SecurityContext: &core.SecurityContext{Privileged: &yes}}}},
		"tame": {SecurityContext: &core.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &core.SeccompProfile{Type: core.SeccompProfileTypeRuntimeDefault}},
			Containers: []core.Container{{Name: "c", Image: "i", SecurityContext: &core.SecurityContext{AllowPrivilegeEscalation: &no,
				Capabilities: &core.Capabilities{Drop: []core.Capability{"ALL"}}}}}},
	}
	for _, tc := range []struct{ namespace, pod, want string }{
		{"loose", "root", ""}, {"loose", "plain", ""}, {"base", "plain", ""}, {"base", "tame", ""}, {"strict", "tame", ""},
		{"base", "root", `pods "root" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true), privileged (container "c" must not set securityContext.privileged=true)`},
		{"strict", "plain", `pods "plain" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)`},
	} {
		spec := pods[tc.pod]
		_, err := client.Create(t.Context(), s.Client, &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: tc.namespace, Name: tc.pod}, Spec: *spec.DeepCopy()})
		if err == nil != (tc.want == "") || err != nil && !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s in %s: got %v, want %q", tc.pod, tc.namespace, err, tc.want)
		}
	}
	// Labels that make no sense are refused, and stricter ones tell what is there already.
	loose, err := client.Get[core.Namespace](t.Context(), s.Client, object.Key{Name: "loose"})
	if err != nil {
		t.Fatal(err)
	}
	for level, want := range map[string]string{"severe": `must be one of privileged, baseline, restricted`, "baseline": ""} {
		ns := object.Clone(loose)
		ns.ResourceVersion = ""
		ns.Labels[label("enforce")] = level
		_, err := client.Update(t.Context(), s.Client, ns)
		if err == nil != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("level %s: got %v, want %q", level, err, want)
		}
	}
}
