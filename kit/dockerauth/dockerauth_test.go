package dockerauth

import (
	"slices"
	"testing"
)

func TestCredentialsFit(t *testing.T) {
	for _, c := range []struct {
		where, image string
		ok           bool
	}{
		{"https://index.docker.io/v1/", "web:1", true},
		{"https://index.docker.io/v1/", "docker.io/library/web:1", true},
		{"docker.io", "quay.io/a/b:1", false},
		{"quay.io", "quay.io/a/b:1", true},
		{"quay.io/a", "quay.io/a/b:1", true},
		{"quay.io/c", "quay.io/a/b:1", false},
		{"*.example.com", "reg.example.com/a:1", true},
		{"*.example.com", "x.reg.example.com/a:1", false},
		{"*.com", "example.com.evil/a:1", false},
		{"http://localhost:5000", "localhost:5000/a", true},
		{"localhost", "localhost:5000/a", false},
	} {
		if ok := fits(c.where, c.image); ok != c.ok {
			t.Errorf("%s for %s: %v, want %v", c.where, c.image, ok, c.ok)
		}
	}
}

func TestBest(t *testing.T) {
	entries, err := Parse([]byte(`{"auths":{"a.example":{"username":"u","password":"p"},"a.example/team":{"auth":"dTI6cDI6eA=="}},"credsStore":"other"}`))
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := Best(entries, "a.example/team/web:1"); !ok || e != (Entry{Username: "u2", Password: "p2:x"}) {
		t.Errorf("team's image: got %+v, %v", e, ok)
	}
	if e, ok := Best(entries, "a.example/web:1"); !ok || e.Username != "u" {
		t.Errorf("another image: got %+v, %v", e, ok)
	}
	if e, ok := Best(entries, "b.example/web:1"); ok {
		t.Errorf("another registry: got %+v", e)
	}
	if _, err := Parse([]byte(`{"auths":{"a.example":{"auth":"%"}}}`)); err == nil {
		t.Error("what is not base64 was read")
	}
}

func TestAll(t *testing.T) {
	entries := map[string]Entry{
		"*.example.com": {Username: "any"}, "https://reg.example.com/": {Username: "host"}, "reg.example.com/team": {Username: "team"},
		"reg.example.com/team/web": {Username: "web"}, "other.example.com": {Username: "other"},
	}
	var got []string
	for _, m := range All(entries, "reg.example.com/team/web:1") {
		got = append(got, m.Where+" "+m.Username)
	}
	want := []string{"reg.example.com/team/web web", "reg.example.com/team team", "reg.example.com host", "*.example.com any"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
