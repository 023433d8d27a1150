package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	for in, want := range map[string][]challenge{
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"`: {
			{"bearer", params{"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:a/b:pull,push"}},
		},
		`Basic realm="a \"quoted\" one, with comma"`: {{"basic", params{"realm": `a "quoted" one, with comma`}}},
		`Negotiate, Basic realm=x, BEARER realm = "y" , service=z`: {
			{"negotiate", params{}}, {"basic", params{"realm": "x"}}, {"bearer", params{"realm": "y", "service": "z"}},
		},
		`Basic`: {{"basic", params{}}},
		``:      nil,
		`,,, `:  nil,
	} {
		got := parseChallenges([]string{in})
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(challenge{})); diff != "" {
			t.Errorf("parseChallenges(%q) (-want +got):\n%s", in, diff)
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="x",service=y, Basic realm="z`)
	f.Add(`"=,`)
	f.Fuzz(func(t *testing.T, in string) {
		for _, c := range parseChallenges([]string{in, in}) {
			if c.scheme == "" {
				t.Errorf("%q: challenge without scheme", in)
			}
		}
	})
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.8.8.8": true, "[::1]:5000": true, "[::1]": true,
		"localhost.example.com": false, "10.0.0.1:5000": false, "registry": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("isLoopback(%q) = %t", host, got)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, h := range map[string]Host{
		"CA":          {CA: []byte("no certificate")},
		"mirror":      {Mirrors: []string{"mirror.lan:5000"}},
		"mirror kind": {Mirrors: []string{"ftp://mirror.lan"}},
	} {
		if _, err := New(Config{Hosts: map[string]Host{"docker.io": h}}); err == nil {
			t.Errorf("%s: %+v was accepted", name, h)
		}
	}
}
