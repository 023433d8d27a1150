package image_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/archive"
	"proa.dev/runtime/image"
)

func build(t testing.TB, spec archive.Spec) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := archive.Build(&b, spec); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func webSpec(version string) archive.Spec {
	return archive.Spec{
		Names:  []string{"proa/web:" + version},
		Config: ocispec.ImageConfig{Entrypoint: []string{"/bin/web"}, Env: []string{"VERSION=" + version}},
		Layers: [][]archive.File{
			{{Path: "/bin/web", Mode: 0o755, Content: []byte("web")}, {Path: "/etc/passwd", Mode: 0o644, Content: []byte("root")}},
			{{Path: "/etc/passwd", Mode: 0o600, Content: []byte("root:x")}},
		},
	}
}

func open(t testing.TB, root string) *image.Store {
	t.Helper()
	s, err := image.Open(image.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func importImage(t testing.TB, s *image.Store, spec archive.Spec) {
	t.Helper()
	if _, err := s.Import(t.Context(), bytes.NewReader(build(t, spec))); err != nil {
		t.Fatal(err)
	}
}

func TestImportPrepareRelease(t *testing.T) {
	roottest.Need(t, "layers are unpacked with their owners")
	root := t.TempDir()
	s := open(t, root)
	names, err := s.Import(t.Context(), bytes.NewReader(build(t, webSpec("v1"))))
	if err != nil || !cmp.Equal(names, []string{"docker.io/proa/web:v1"}) {
		t.Fatalf("Import = %v, %v", names, err)
	}
	s = open(t, root) // all of it is on disk
	id, cfg, err := s.Config(t.Context(), "proa/web:v1")
	if err != nil || cfg.Config.Env[0] != "VERSION=v1" {
		t.Fatalf("Config = %s, %+v, %v", id, cfg, err)
	}
	im, err := s.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{id, id[len("sha256:"):], "docker.io/proa/web:v1", im.Digests[0]} {
		if got, _, err := s.Config(t.Context(), ref); got != id || err != nil {
			t.Errorf("Config(%s) = %s, %v; want %s", ref, got, err, id)
		}
	}
	fs, err := s.Prepare(t.Context(), "c1", id)
	if err != nil {
		t.Fatal(err)
	}
	if len(fs.Lower) != 2 {
		t.Fatalf("Lower = %v; want 2 layers", fs.Lower)
	}
	if b, err := os.ReadFile(filepath.Join(fs.Lower[0], "etc/passwd")); string(b) != "root:x" {
		t.Errorf("the top layer comes first: got %q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(fs.Lower[1], "bin/web")); string(b) != "web" {
		t.Errorf("bin/web = %q, %v", b, err)
	}
	if _, err := s.Prepare(t.Context(), "c1", id); err == nil {
		t.Error("one key was prepared twice")
	}
	if err := s.Release(t.Context(), "c1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(t.Context(), "c1"); err != nil {
		t.Errorf("second Release: %v", err)
	}
	if _, err := os.Stat(fs.Upper); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("upper directory after Release: %v", err)
	}
	if _, _, err := s.Config(t.Context(), "nginx"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("Config of an absent image: %v; want ErrNotFound", err)
	}
}
