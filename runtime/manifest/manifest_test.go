package manifest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/manifest"
)

var sum = digest.FromString("x")

func TestParseTellsKinds(t *testing.T) {
	image := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"size":1},"layers":[{"digest":%q,"size":2}]}`, sum, sum)
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":%q,"size":1}]}`, sum)
	if d, err := manifest.Parse([]byte(image), manifest.DockerManifest); err != nil || d.Manifest == nil {
		t.Errorf("manifest: %+v, %v", d, err)
	}
	if d, err := manifest.Parse([]byte(image), ""); err != nil || d.Manifest == nil {
		t.Errorf("manifest without type: %+v, %v", d, err)
	}
	if d, err := manifest.Parse([]byte(index), ""); err != nil || d.Index == nil {
		t.Errorf("index without type: %+v, %v", d, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"not JSON":      `{`,
		"schema 1":      `{"schemaVersion":1,"fsLayers":[]}`,
		"both":          fmt.Sprintf(`{"manifests":[],"config":{"digest":%q},"layers":[]}`, sum),
		"no config":     `{"schemaVersion":2,"layers":[]}`,
		"bad digest":    fmt.Sprintf(`{"config":{"digest":%q},"layers":[{"digest":"sha256:../../x","size":1}]}`, sum),
		"negative size": fmt.Sprintf(`{"config":{"digest":%q,"size":-1}}`, sum),
		"other type":    fmt.Sprintf(`{"mediaType":%q,"manifests":[]}`, ocispec.MediaTypeImageIndex),
		"huge":          strings.Repeat(" ", manifest.MaxBytes+1),
		"many layers":   fmt.Sprintf(`{"config":{"digest":%q},"layers":[%s{}]}`, sum, strings.Repeat("{},", 2000)),
	} {
		if d, err := manifest.Parse([]byte(in), ocispec.MediaTypeImageManifest); err == nil {
			t.Errorf("%s: parsed as %+v", name, d)
		}
	}
}

func TestPick(t *testing.T) {
	ix := ocispec.Index{Manifests: []ocispec.Descriptor{
		{Digest: "a", Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}},
		{Digest: "b", Platform: &ocispec.Platform{OS: "windows", Architecture: "amd64"}},
		{Digest: "c", Platform: &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}},
		{Digest: "d", Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}},
		{Digest: "e", Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"}},
	}}
	for want, p := range map[digest.Digest]ocispec.Platform{
		"a": {OS: "linux", Architecture: "arm64"},
		"c": {OS: "linux", Architecture: "arm", Variant: "v7"},
		"d": {OS: "linux", Architecture: "amd64"},
	} {
		if got, err := manifest.Pick(ix, p); err != nil || got.Digest != want {
			t.Errorf("Pick(%+v) = %s, %v; want %s", p, got.Digest, err, want)
		}
	}
	_, err := manifest.Pick(ix, ocispec.Platform{OS: "linux", Architecture: "s390x"})
	if err == nil || !strings.Contains(err.Error(), "linux/s390x") || !strings.Contains(err.Error(), "windows/amd64") {
		t.Errorf("Pick for a missing platform: %v; want an error that names it and what there is", err)
	}
}

func TestConfigMustMatchManifest(t *testing.T) {
	b, err := json.Marshal(ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{sum}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.ParseConfig(b, 1); err != nil {
		t.Error(err)
	}
	if _, err := manifest.ParseConfig(b, 2); err == nil {
		t.Error("a configuration with too few layers was accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:00","size":1}]}`), "")
	f.Add([]byte(`{"schemaVersion":2,"config":{},"layers":[{}]}`), manifest.DockerManifest)
	f.Fuzz(func(t *testing.T, b []byte, mediaType string) {
		d, err := manifest.Parse(b, mediaType)
		if err == nil && (d.Manifest == nil) == (d.Index == nil) {
			t.Errorf("want exactly one kind, got %+v", d)
		}
		if err == nil && d.Index != nil {
			manifest.Pick(*d.Index, manifest.Host())
		}
	})
}
