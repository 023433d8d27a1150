package credential

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kit/dockerauth"
	"proa.dev/kubelet/pulled"
)

const head = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"

// script writes a plugin that keeps its request in "asked" and says the text.
func script(t *testing.T, dir, name, text string) {
	t.Helper()
	body := fmt.Sprintf("#!/bin/sh\ncat >> %s/asked; echo >> %[1]s/asked\ncat <<'END'\n%s\nEND\n", dir, text)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir, config string) (*Plugins, error) {
	t.Helper()
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return New(Deps{
		Config: path, Programs: dir, Log: slog.New(slog.DiscardHandler),
		Account: func(context.Context, string, string) (*core.ServiceAccount, error) {
			return &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "sa", UID: "u", Annotations: map[string]string{"role": "reader"}}}, nil
		},
		Token: func(_ context.Context, p *core.Pod, audience string, _ int64) (string, error) {
			return "token of " + p.Name + " for " + audience, nil
		},
	})
}

func asked(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "asked"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

func TestPlugins(t *testing.T) {
	for _, c := range []struct {
		key  string
		runs int
	}{{"Image", 2}, {"Registry", 1}, {"Global", 1}} {
		dir := t.TempDir()
		script(t, dir, "ecr", `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"`+c.key+`",
"cacheDuration":"1h","auth":{"*.reg.example":{"username":"u","password":"p"},"a.reg.example/team":{"username":"team","password":"t"}}}`)
		p, err := open(t, dir, head+"- {name: ecr, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: ['*.reg.example'], defaultCacheDuration: 0s}\n")
		if err != nil {
			t.Fatal(err)
		}
		pod := &core.Pod{}
		for range 2 {
			if d := cmp.Diff([]pulled.Credential{{Entry: dockerauth.Entry{Username: "u", Password: "p"}}}, p.For(t.Context(), "a.reg.example/app:1", pod)); d != "" {
				t.Errorf("%s: %s", c.key, d)
			}
		}
		if d := cmp.Diff([]pulled.Credential{{Entry: dockerauth.Entry{Username: "team", Password: "t"}}, {Entry: dockerauth.Entry{Username: "u", Password: "p"}}}, p.For(t.Context(), "a.reg.example/team/app:1", pod)); d != "" {
			t.Errorf("%s: %s", c.key, d)
		}
		if got := p.For(t.Context(), "docker.io/library/nginx", pod); got != nil {
			t.Errorf("an image that is none of its: %v", got)
		}
		if got := asked(t, dir); len(got) != c.runs || got[0] != `{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"a.reg.example/app:1"}` {
			t.Errorf("%s: asked %d times: %s", c.key, len(got), got)
		}
	}
}

func TestServiceAccount(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "sa", `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Global","auth":{"reg.example":{"username":"u","password":"p"}}}`)
	config := head + "- {name: sa, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: [reg.example], defaultCacheDuration: 1h," +
		" tokenAttributes: {serviceAccountTokenAudience: aud, cacheType: Token, requireServiceAccount: true, requiredServiceAccountAnnotationKeys: [%s], optionalServiceAccountAnnotationKeys: [other]}}\n"
	p, err := open(t, dir, fmt.Sprintf(config, "role"))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.For(t.Context(), "reg.example/x", &core.Pod{}); got != nil {
		t.Errorf("a pod without an account: %v", got)
	}
	for _, name := range []string{"one", "two", "one"} {
		pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: core.PodSpec{ServiceAccountName: "sa"}}
		if got := p.For(t.Context(), "reg.example/x", pod); len(got) != 1 || got[0].Account == nil || got[0].Account.UID != "u" {
			t.Errorf("pod %s: %v", name, got)
		}
	}
	want := `"serviceAccountToken":"token of two for aud","serviceAccountAnnotations":{"role":"reader"}}`
	if got := asked(t, dir); len(got) != 2 || !strings.HasSuffix(got[1], want) {
		t.Errorf("asked %s", got)
	}
	if p, err = open(t, dir, fmt.Sprintf(config, "missing")); err != nil {
		t.Fatal(err)
	}
	pod := &core.Pod{Spec: core.PodSpec{ServiceAccountName: "sa"}}
	if got := p.For(t.Context(), "reg.example/x", pod); got != nil {
		t.Errorf("an account without the annotation: %v", got)
	}
}

// TestFailures: a plugin that fails gives nothing, and the next one is asked.
func TestFailures(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dies"), []byte("#!/bin/sh\necho why >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	script(t, dir, "babbles", "no JSON")
	script(t, dir, "older", `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1beta1","cacheKeyType":"Image","auth":{"r.example":{}}}`)
	script(t, dir, "keyless", `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","auth":{"r.example":{}}}`)
	script(t, dir, "good", `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","auth":{"r.example":{"username":"u","password":"p"}}}`)
	config := head
	for _, name := range []string{"dies", "babbles", "older", "keyless", "good"} {
		config += "- {name: " + name + ", apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: [r.example], defaultCacheDuration: 1h}\n"
	}
	p, err := open(t, dir, config)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]pulled.Credential{{Entry: dockerauth.Entry{Username: "u", Password: "p"}}}, p.For(t.Context(), "r.example/x", &core.Pod{})); d != "" {
		t.Error(d)
	}
	for config, want := range map[string]string{
		"kind: Pod\napiVersion: v1\n": "want a CredentialProviderConfig",
		head:                          "at least 1 item",
		head + "- {name: good, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: [], defaultCacheDuration: 1h}\n":     "matchImages",
		head + "- {name: good, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: [x]}\n":                              "defaultCacheDuration",
		head + "- {name: ../good, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: [x], defaultCacheDuration: 1h}\n": "not that of a file",
		head + "- {name: none, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: [x], defaultCacheDuration: 1h}\n":    "did not exist",
		head + "- {name: good, apiVersion: v2, matchImages: [x], defaultCacheDuration: 1h}\n":                                      "apiVersion",
		head + "- {name: good, nmae: x}\n": "unknown field",
	} {
		if _, err := open(t, dir, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}
