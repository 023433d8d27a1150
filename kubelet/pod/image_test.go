package pod

import (
	"testing"

	core "k8s.io/api/core/v1"
)

func TestWithTag(t *testing.T) {
	for in, want := range map[string]string{
		"web": "web:latest", "web:1": "web:1", "host:5000/web": "host:5000/web:latest", "a/b@sha256:0": "a/b@sha256:0",
	} {
		if got := withTag(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestCredentialsFit(t *testing.T) {
	for _, c := range []struct {
		where, image string
		length       int
		ok           bool
	}{
		{"https://index.docker.io/v1/", "web:1", 0, true},
		{"https://index.docker.io/v1/", "docker.io/library/web:1", 0, true},
		{"docker.io", "quay.io/a/b:1", 0, false},
		{"quay.io", "quay.io/a/b:1", 0, true},
		{"quay.io/a", "quay.io/a/b:1", 1, true},
		{"quay.io/c", "quay.io/a/b:1", 0, false},
		{"*.example.com", "reg.example.com/a:1", 0, true},
		{"*.example.com", "x.reg.example.com/a:1", 0, false},
		{"*.com", "example.com.evil/a:1", 0, false},
		{"http://localhost:5000", "localhost:5000/a", 0, true},
		{"localhost", "localhost:5000/a", 0, false},
	} {
		if n, ok := fits(c.where, c.image); n != c.length || ok != c.ok {
			t.Errorf("%s for %s: %d %v, want %d %v", c.where, c.image, n, ok, c.length, c.ok)
		}
	}
}

func TestReadCredentials(t *testing.T) {
	s := &core.Secret{Type: core.SecretTypeDockerConfigJson, Data: map[string][]byte{
		core.DockerConfigJsonKey: []byte(`{"auths":{"a.example":{"username":"u","password":"p"},"b.example":{"auth":"dTI6cDI6eA=="}}}`),
	}}
	got, err := readCredentials(s)
	if err != nil || got["a.example"].Username != "u" || got["b.example"].Username != "u2" || got["b.example"].Password != "p2:x" {
		t.Errorf("%v, %v", got, err)
	}
	s = &core.Secret{Type: core.SecretTypeDockercfg, Data: map[string][]byte{core.DockerConfigKey: []byte(`{"c.example":{"username":"u3"}}`)}}
	if got, err := readCredentials(s); err != nil || got["c.example"].Username != "u3" {
		t.Errorf("%v, %v", got, err)
	}
	s.Data[core.DockerConfigKey] = []byte("{")
	if _, err := readCredentials(s); err == nil {
		t.Error("half a file was read")
	}
}
