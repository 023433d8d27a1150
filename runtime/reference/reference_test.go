package reference_test

import (
	"strings"
	"testing"

	"proa.dev/runtime/reference"
)

var hex = strings.Repeat("ab", 32)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"nginx":                               "docker.io/library/nginx:latest",
		"nginx:1.27":                          "docker.io/library/nginx:1.27",
		"docker.io/nginx":                     "docker.io/library/nginx:latest",
		"index.docker.io/library/nginx":       "docker.io/library/nginx:latest",
		"proa/shop-web:v1":                    "docker.io/proa/shop-web:v1",
		"localhost/web":                       "localhost/web:latest",
		"localhost:5000/web":                  "localhost:5000/web:latest",
		"[::1]:5000/a/b:T_1.x-y":              "[::1]:5000/a/b:T_1.x-y",
		"registry.k8s.io/pause:3.10":          "registry.k8s.io/pause:3.10",
		"EXAMPLE/web":                         "EXAMPLE/web:latest",
		"a__b/c--d.e":                         "docker.io/a__b/c--d.e:latest",
		"nginx@sha256:" + hex:                 "docker.io/library/nginx@sha256:" + hex,
		"quay.io/a/b/c:v1@sha256:" + hex:      "quay.io/a/b/c:v1@sha256:" + hex,
		"10.0.0.1:5000/very/deep/path/of/img": "10.0.0.1:5000/very/deep/path/of/img:latest",
	} {
		got, err := reference.Parse(in)
		if err != nil || got.String() != want {
			t.Errorf("Parse(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", "Nginx", "nginx:", "nginx:-x", "nginx:a b", "a//b", "/nginx", "nginx/", "a..b", "a._b", "a___b", "-a", "a-",
		"nginx@sha256:12", "nginx@", "nginx@md5:" + hex, hex, "host:port/x", "host.io:/x", "[::1/x", "[]/x", "a.-b.c/x",
		"nginx:" + strings.Repeat("a", 129), strings.Repeat("a/", 128) + "a", "ö/x", "a/../b", "nginx\n",
	} {
		if got, err := reference.Parse(in); err == nil {
			t.Errorf("Parse(%q) = %v; want an error", in, got)
		} else if !strings.HasPrefix(err.Error(), "image name ") {
			t.Errorf("Parse(%q): %v; want an error that quotes the name", in, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("nginx:1@sha256:" + hex)
	f.Add("[::1]:5000/a__b/c--d:Tag")
	f.Fuzz(func(t *testing.T, in string) {
		r, err := reference.Parse(in)
		if err != nil {
			return
		}
		again, err := reference.Parse(r.String())
		if err != nil || again != r {
			t.Errorf("Parse(%q) = %v, which reads back as %v, %v", in, r, again, err)
		}
	})
}
