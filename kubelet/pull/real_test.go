package pull

import (
	"bytes"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/kit/roottest"
	"proa.dev/kubelet/pulled"
	"proa.dev/runtime/archive"
	"proa.dev/runtime/cri"
	"proa.dev/runtime/image"
	"proa.dev/runtime/registry"
	"proa.dev/runtime/registry/registrytest"
)

// TestRegistryDecides has proa's own image store, and a registry that wants credentials: an image that is on the node already is asked for
// again with the credentials of each pod, and those that the registry does not take get nothing.
func TestRegistryDecides(t *testing.T) {
	roottest.Need(t, "layers are unpacked with their owners")
	build := func(name string) *bytes.Buffer {
		t.Helper()
		var tar bytes.Buffer
		if _, err := archive.Build(&tar, archive.Spec{Names: []string{name}, Config: ocispec.ImageConfig{Cmd: []string{"/web"}},
			Layers: [][]archive.File{{{Path: "web", Mode: 0o755, Content: []byte(name)}}}}); err != nil {
			t.Fatal(err)
		}
		return &tar
	}
	reg := registrytest.New(t, false)
	reg.User, reg.Password = "u", "secret"
	var closed atomic.Bool
	reg.Fault = func(w http.ResponseWriter, _ *http.Request) bool {
		if closed.Load() {
			registrytest.Refuse(w, http.StatusForbidden, "DENIED", "no more")
		}
		return closed.Load()
	}
	web := reg.Host() + "/team/web:1"
	images := reg.Add(t, build("docker.io/team/web:1").Bytes())
	byDigest := reg.Host() + "/team/web@" + images[0].Manifest.Digest.String()
	store, err := image.Open(image.Config{Root: filepath.Join(t.TempDir(), "images"), Log: slog.New(slog.DiscardHandler),
		Registry: registry.Config{Hosts: map[string]registry.Host{reg.Host(): {PlainHTTP: true}}}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, Config{})
	b.Images = cri.NewImages(store)
	b.put("good", reg.Host(), "secret")
	b.put("bad", reg.Host(), "guess")
	here := func(got string) bool { return strings.HasPrefix(got, "sha256:") }
	for _, c := range []struct {
		image   string
		secrets []string
		want    bool
	}{
		{web, nil, false}, {web, []string{"bad"}, false}, {web, []string{"bad", "good"}, true},
		{web, nil, false}, {web, []string{"bad"}, false}, {web, []string{"good"}, true},
		{byDigest, nil, false}, {byDigest, []string{"bad"}, false}, {byDigest, []string{"good"}, true},
	} {
		if got := b.ensure(c.image, ifMissing, c.secrets...); here(got) != c.want {
			t.Errorf("%s with %q: %s", c.image, c.secrets, got)
		}
	}
	// What was imported is everybody's.
	if _, err := store.Import(t.Context(), build(reg.Host()+"/team/imported:1")); err != nil {
		t.Fatal(err)
	}
	if got := b.ensure(reg.Host()+"/team/imported:1", never); !here(got) {
		t.Error(got)
	}
	closed.Store(true)
	for _, p := range []struct {
		policy string
		want   bool
	}{{pulled.Preloaded, false}, {pulled.Never, true}} {
		d := b.Deps
		d.Verify.Verify = p.policy
		if b.Puller, err = New(d); err != nil {
			t.Fatal(err)
		}
		if got := b.ensure(web, ifMissing); here(got) != p.want {
			t.Errorf("%s: %s", p.policy, got)
		}
		if got := b.ensure(web, ifMissing, "good"); !here(got) {
			t.Errorf("%s: the registry refuses all, but who has pulled it may have it: %s", p.policy, got)
		}
	}
}
