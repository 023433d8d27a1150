package dockerauth

import "testing"

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
