package pull

import (
	"testing"

	core "k8s.io/api/core/v1"
)

func TestWithTag(t *testing.T) {
	for in, want := range map[string]string{
		"web": "web:latest", "web:1": "web:1", "host:5000/web": "host:5000/web:latest", "a/b@sha256:" + zeros: "a/b@sha256:" + zeros,
	} {
		if got, err := withTag(in); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestRead(t *testing.T) {
	s := &core.Secret{Type: core.SecretTypeDockerConfigJson, Data: map[string][]byte{
		core.DockerConfigJsonKey: []byte(`{"auths":{"a.example":{"username":"u","password":"p"},"b.example":{"auth":"dTI6cDI6eA=="}}}`),
	}}
	got, err := read(s)
	if err != nil || got["a.example"].Username != "u" || got["b.example"].Username != "u2" || got["b.example"].Password != "p2:x" {
		t.Errorf("%v, %v", got, err)
	}
	s = &core.Secret{Type: core.SecretTypeDockercfg, Data: map[string][]byte{core.DockerConfigKey: []byte(`{"c.example":{"username":"u3"}}`)}}
	if got, err := read(s); err != nil || got["c.example"].Username != "u3" {
		t.Errorf("%v, %v", got, err)
	}
	s.Data[core.DockerConfigKey] = []byte("{")
	if _, err := read(s); err == nil {
		t.Error("half a file was read")
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"
