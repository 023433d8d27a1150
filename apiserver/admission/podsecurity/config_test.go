package podsecurity

import (
	"strings"
	"testing"

	"k8s.io/pod-security-admission/api"
)

const settings = `apiVersion: pod-security.admission.config.k8s.io/v1
kind: PodSecurityConfiguration
defaults: {enforce: baseline, enforce-version: v1.30, warn: restricted}
exemptions: {usernames: [ann], namespaces: [free], runtimeClasses: [vm]}
`

func TestParse(t *testing.T) {
	_, open, err := parse([]byte(settings))
	if err != nil {
		t.Fatal(err)
	}
	if got := open.Enforce.String() + " " + open.Audit.String() + " " + open.Warn.String(); got != "baseline:v1.30 privileged:latest restricted:latest" {
		t.Errorf("defaults: %s", got)
	}
	for text, want := range map[string]string{
		strings.Replace(settings, "baseline", "nothing", 1): "defaults.enforce: ", strings.Replace(settings, "v1.30", "x", 1): "defaults.enforce-version: ",
		strings.Replace(settings, "usernames", "users", 1): `unknown field "users"`, strings.Replace(settings, "/v1", "/v9", 1): "want a PodSecurityConfiguration",
	} {
		if _, _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestExempt(t *testing.T) {
	c, open, err := parse([]byte(settings))
	if err != nil {
		t.Fatal(err)
	}
	p := &plugin{config: c, open: open}
	vm, other := "vm", "other"
	for _, s := range []struct {
		ns, user string
		class    *string
		want     string
	}{{"free", "ann", &vm, "namespace"}, {"a", "ann", &vm, "user"}, {"a", "bob", &vm, "runtimeClass"}, {"a", "bob", &other, ""}, {"a", "", nil, ""}} {
		if got := p.exempt(s.ns, s.user, s.class); got != s.want {
			t.Errorf("%+v: got %q", s, got)
		}
	}
	labels := map[string]string{api.EnforceLevelLabel: "restricted"}
	want, errs := api.PolicyToEvaluate(labels, open)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if got := p.ignored("free", labels, want); got != `namespace "free" is exempt from Pod Security, and the policy (enforce=restricted:v1.30) will be ignored` {
		t.Errorf("got %s", got)
	}
	if got := p.ignored("a", labels, want) + p.ignored("free", nil, open); got != "" {
		t.Errorf("got %s", got)
	}
}
