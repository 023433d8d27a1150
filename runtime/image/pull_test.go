package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/archive"
	"proa.dev/runtime/image"
	"proa.dev/runtime/manifest"
	"proa.dev/runtime/registry"
	"proa.dev/runtime/registry/registrytest"
)

// start serves proa/web:v1 and opens an empty store.
func start(t *testing.T, c registry.Config) (*registrytest.Server, *image.Store, string) {
	t.Helper()
	roottest.Need(t, "layers are unpacked with their owners")
	reg := registrytest.New(t, false)
	reg.Add(t, build(t, webSpec("v1")))
	c.Pause = time.Millisecond
	s, err := image.Open(image.Config{Root: t.TempDir(), Registry: c})
	if err != nil {
		t.Fatal(err)
	}
	return reg, s, reg.Host() + "/proa/web:v1"
}

func TestPull(t *testing.T) {
	reg, s, name := start(t, registry.Config{})
	var last image.Progress
	id, err := s.Pull(t.Context(), name, nil, func(p image.Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	if last.Done != last.Total || last.Total == 0 {
		t.Errorf("last progress %+v; want all done", last)
	}
	if got, cfg, err := s.Config(t.Context(), name); got != id || err != nil || cfg.Config.Entrypoint[0] != "/bin/web" {
		t.Errorf("Config = %s, %+v, %v; want %s", got, cfg, err, id)
	}
	im, err := s.Get(name)
	if err != nil || len(im.Digests) != 1 || !strings.HasPrefix(im.Digests[0], reg.Host()+"/proa/web@sha256:") {
		t.Fatalf("Get = %+v, %v; want one digest name", im, err)
	}
	for _, ref := range []string{name, im.Digests[0]} {
		before := len(reg.Requests())
		if again, err := s.Pull(t.Context(), ref, nil, nil); again != id || err != nil {
			t.Errorf("Pull of what is here = %s, %v", again, err)
		}
		if more := reg.Requests()[before:]; len(more) != 1 || !strings.HasPrefix(more[0], "HEAD ") {
			t.Errorf("an image that is here cost %v; want one HEAD", more)
		}
	}
	reg.User, reg.Password = "alice", "secret"
	if _, err := s.Pull(t.Context(), im.Digests[0], nil, nil); err == nil {
		t.Error("who may not have the image got it because it is here")
	}
}

func TestPullMendsALostBlob(t *testing.T) {
	_, s, name := start(t, registry.Config{})
	id, err := s.Pull(t.Context(), name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	other := open(t, root)
	if _, err := other.Pull(t.Context(), name, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(root, "content/blobs/sha256", digest.Digest(id).Encoded())); err != nil {
		t.Fatal(err)
	}
	other = open(t, root)
	if _, _, err := other.Config(t.Context(), name); err == nil {
		t.Error("Config of an image whose configuration is lost")
	}
	if again, err := other.Pull(t.Context(), name, nil, nil); again != id || err != nil {
		t.Errorf("Pull = %s, %v; want %s", again, err, id)
	}
	if got, _, err := other.Config(t.Context(), name); got != id || err != nil {
		t.Errorf("Config after the pull: %s, %v", got, err)
	}
}

func TestPullErrorsNameRegistryAndReason(t *testing.T) {
	reg, s, _ := start(t, registry.Config{})
	_, err := s.Pull(t.Context(), reg.Host()+"/proa/none:v9", nil, nil)
	for _, want := range []string{reg.Host(), "proa/none:v9", "404", "manifest unknown"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Pull of an absent image: %v; want %q in it", err, want)
		}
	}
	reg.Close()
	_, err = s.Pull(t.Context(), reg.Host()+"/proa/web:v1", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "does not accept connections") || !strings.HasPrefix(err.Error(), "pull "+reg.Host()) {
		t.Errorf("Pull from a dead registry: %v", err)
	}
	if _, err := s.Pull(t.Context(), "Not/Valid", nil, nil); err == nil {
		t.Error("a bad name was accepted")
	}
}

func TestPullAuthenticates(t *testing.T) {
	for _, bearer := range []bool{false, true} {
		reg, s, name := start(t, registry.Config{})
		reg.User, reg.Password, reg.Bearer = "alice", "secret", bearer
		_, err := s.Pull(t.Context(), name, nil, nil)
		if err == nil || !strings.Contains(err.Error(), "pull secret") || !strings.Contains(err.Error(), "401") {
			t.Errorf("bearer %t, without credentials: %v", bearer, err)
		}
		_, err = s.Pull(t.Context(), name, &image.Auth{Username: "alice", Password: "wrong"}, nil)
		if err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("bearer %t, wrong password: %v", bearer, err)
		}
		if _, err := s.Pull(t.Context(), name, &image.Auth{Username: "alice", Password: "secret"}, nil); err != nil {
			t.Errorf("bearer %t: %v", bearer, err)
		}
	}
}

func TestPullOverTLS(t *testing.T) {
	roottest.Need(t, "layers are unpacked with their owners")
	reg := registrytest.New(t, true)
	reg.Add(t, build(t, webSpec("v1")))
	name := reg.Host() + "/proa/web:v1"
	s := open(t, t.TempDir())
	if _, err := s.Pull(t.Context(), name, nil, nil); err == nil || !strings.Contains(err.Error(), "not signed by a known authority") {
		t.Errorf("Pull with an unknown authority: %v", err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: reg.Certificate().Raw})
	hosts := map[string]registry.Host{reg.Host(): {CA: ca}}
	s, err := image.Open(image.Config{Root: t.TempDir(), Registry: registry.Config{Hosts: hosts}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pull(t.Context(), name, nil, nil); err != nil {
		t.Error(err)
	}
}

// big is an image whose layer is long enough to be cut.
func big(t *testing.T, reg *registrytest.Server) {
	t.Helper()
	spec := webSpec("big")
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	spec.Layers = append(spec.Layers, []archive.File{{Path: "big", Mode: 0o644, Content: body}})
	reg.Add(t, build(t, spec))
}

func TestPullResumes(t *testing.T) {
	reg, s, _ := start(t, registry.Config{})
	big(t, reg)
	reg.Cut(6, 200_000)
	if _, err := s.Pull(t.Context(), reg.Host()+"/proa/web:big", nil, nil); err != nil {
		t.Fatal(err)
	}
	var from []string
	for _, r := range reg.Requests() {
		if _, n, ok := strings.Cut(r, " from "); ok {
			from = append(from, n)
		}
	}
	if len(from) != 5 && len(from) != 6 {
		t.Errorf("continued from %v; want each of the cuts, in steps of 200000", from)
	}
}

func TestPullGivesUpOnADeafRegistry(t *testing.T) {
	reg, s, name := start(t, registry.Config{Stall: 20 * time.Millisecond})
	quit := make(chan struct{})
	t.Cleanup(func() { close(quit) })
	reg.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		w.Header().Set("Content-Length", "100")
		w.(http.Flusher).Flush()
		<-quit
		return true
	}
	_, err := s.Pull(t.Context(), name, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "no bytes for 20ms") {
		t.Errorf("Pull from a registry that sends nothing: %v", err)
	}
}

func TestPullSurvivesABusyRegistry(t *testing.T) {
	reg, s, name := start(t, registry.Config{})
	var n atomic.Int32
	reg.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		switch n.Add(1) {
		case 1, 4:
			registrytest.Refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "slow down")
		case 2, 5:
			w.WriteHeader(http.StatusBadGateway)
		default:
			return false
		}
		return true
	}
	if _, err := s.Pull(t.Context(), name, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestPullRefusesWrongBytes(t *testing.T) {
	reg, s, name := start(t, registry.Config{})
	config, err := archiveConfig(t, webSpec("v1"))
	if err != nil {
		t.Fatal(err)
	}
	reg.Corrupt(config)
	_, err = s.Pull(t.Context(), name, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "wrong digest") || !strings.Contains(err.Error(), config.String()) {
		t.Errorf("Pull of a changed blob: %v", err)
	}
	if len(s.List()) != 0 {
		t.Errorf("images after a bad pull: %+v", s.List())
	}
}

// archiveConfig is the digest of the configuration that a spec makes.
func archiveConfig(t *testing.T, spec archive.Spec) (digest.Digest, error) {
	s := open(t, t.TempDir())
	importImage(t, s, spec)
	id, _, err := s.Config(t.Context(), spec.Names[0])
	return digest.Digest(id), err
}

func TestPullPicksThePlatform(t *testing.T) {
	reg, s, name := start(t, registry.Config{})
	s2 := open(t, t.TempDir())
	id, err := s2.Pull(t.Context(), name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	im, err := s2.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	host := manifest.Host()
	right, wrong := im.Manifest, im.Manifest
	right.Platform = &host
	wrong.Digest = digest.FromString("elsewhere")
	wrong.Platform = &ocispec.Platform{OS: "plan9", Architecture: "mips"}
	index := func(ds ...ocispec.Descriptor) []byte {
		b, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: manifest.DockerIndex, Manifests: ds})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ixDigest := reg.AddManifest("proa/multi", "v1", manifest.DockerIndex, index(wrong, right))
	got, err := s.Pull(t.Context(), reg.Host()+"/proa/multi:v1", nil, nil)
	if err == nil {
		t.Fatalf("pulled %s although the repository does not have the manifest", got)
	}
	// The manifest is in another repository of this small registry: put it where the index is.
	body := manifestBody(t, reg, name)
	reg.AddManifest("proa/multi", "x", im.Manifest.MediaType, body)
	if got, err = s.Pull(t.Context(), reg.Host()+"/proa/multi:v1", nil, nil); got != id || err != nil {
		t.Errorf("Pull of an index = %s, %v; want %s", got, err, id)
	}
	if _, err := s.Get(reg.Host() + "/proa/multi@" + ixDigest.String()); err != nil {
		t.Errorf("the index's digest is not a name: %v", err)
	}
	reg.AddManifest("proa/other", "v1", manifest.DockerIndex, index(wrong))
	if _, err := s.Pull(t.Context(), reg.Host()+"/proa/other:v1", nil, nil); err == nil || !strings.Contains(err.Error(), "plan9/mips") {
		t.Errorf("Pull for another platform: %v; want what there is", err)
	}
}

func manifestBody(t *testing.T, reg *registrytest.Server, name string) []byte {
	t.Helper()
	res, err := http.Get(reg.URL + "/v2/proa/web/manifests/v1")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b := make([]byte, res.ContentLength)
	if _, err := res.Body.Read(b); err != nil && len(b) == 0 {
		t.Fatal(err)
	}
	return b
}

func TestPullOnceForMany(t *testing.T) {
	reg, s, name := start(t, registry.Config{})
	release := make(chan struct{})
	reg.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			<-release
		}
		return false
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := s.Pull(context.Background(), name, nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	waiting, cancel := context.WithCancel(context.Background())
	gone := make(chan error)
	go func() { _, err := s.Pull(waiting, name, nil, nil); gone <- err }()
	cancel()
	if err := <-gone; err == nil {
		t.Error("a canceled pull went on")
	}
	close(release)
	wg.Wait()
	gets := 0
	for _, r := range reg.Requests() {
		if strings.HasPrefix(r, "GET proa/web/blobs/") {
			gets++
		}
	}
	if gets != 3 { // configuration and two layers
		t.Errorf("%d blobs were fetched for ten pulls; want 3:\n%s", gets, strings.Join(reg.Requests(), "\n"))
	}
}

func TestPullFromMirror(t *testing.T) {
	mirror := registrytest.New(t, false)
	mirror.Add(t, build(t, webSpec("v1")))
	dead := "http://127.0.0.1:" + strconv.Itoa(1)
	_, s, _ := start(t, registry.Config{Hosts: map[string]registry.Host{
		"docker.io": {Mirrors: []string{dead, mirror.URL}},
	}})
	id, err := s.Pull(t.Context(), "proa/web:v1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	im, err := s.Get(id)
	if err != nil || im.Tags[0] != "docker.io/proa/web:v1" {
		t.Errorf("Get = %+v, %v; want the name that was asked for", im, err)
	}
}
