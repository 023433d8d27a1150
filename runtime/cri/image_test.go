package cri_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/archive"
	"proa.dev/runtime/cri"
	"proa.dev/runtime/image"
	"proa.dev/runtime/registry"
	"proa.dev/runtime/registry/registrytest"
)

// images opens the service on an empty store, and a registry that has web:v1.
func images(t *testing.T) (*cri.Images, *registrytest.Server) {
	t.Helper()
	roottest.Need(t, "layers are unpacked with their owners")
	var b bytes.Buffer
	_, err := archive.Build(&b, archive.Spec{
		Names:  []string{"web:v1"},
		Config: ocispec.ImageConfig{Entrypoint: []string{"/web"}, User: "65532:65532"},
		Layers: [][]archive.File{{{Path: "web", Mode: 0o755, Content: []byte("web")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	reg := registrytest.New(t, false)
	reg.Add(t, b.Bytes())
	store, err := image.Open(image.Config{Root: t.TempDir(), Registry: registry.Config{Pause: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	return cri.NewImages(store), reg
}

func spec(name string) *runtimeapi.ImageSpec { return &runtimeapi.ImageSpec{Image: name} }

func TestImageService(t *testing.T) {
	s, reg := images(t)
	name := reg.Host() + "/library/web:v1"
	got, err := s.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: spec(name)})
	if err != nil || got.Image != nil {
		t.Fatalf("ImageStatus of an absent image = %v, %v; want no image and no error", got, err)
	}
	pulled, err := s.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: spec(name)})
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{name, pulled.ImageRef} {
		got, err = s.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: spec(ref), Verbose: true})
		if err != nil {
			t.Fatal(err)
		}
		im := got.Image
		if im.Id != pulled.ImageRef || im.GetUid().GetValue() != 65532 || im.Size == 0 || !cmp.Equal(im.RepoTags, []string{name}) ||
			len(im.RepoDigests) != 1 {
			t.Errorf("ImageStatus(%s) = %v", ref, im)
		}
		var info struct{ ImageSpec ocispec.Image }
		if err := json.Unmarshal([]byte(got.Info["info"]), &info); err != nil || info.ImageSpec.Config.Entrypoint[0] != "/web" {
			t.Errorf("verbose info: %v, %v", got.Info, err)
		}
	}
	for filter, want := range map[string]int{"": 1, name: 1, "absent": 0} {
		list, err := s.ListImages(t.Context(), &runtimeapi.ListImagesRequest{Filter: &runtimeapi.ImageFilter{Image: spec(filter)}})
		if err != nil || len(list.Images) != want {
			t.Errorf("ListImages(%q) = %v, %v; want %d", filter, list, err, want)
		}
	}
	fs, err := s.ImageFsInfo(t.Context(), &runtimeapi.ImageFsInfoRequest{})
	if err != nil || fs.ImageFilesystems[0].UsedBytes.Value == 0 || fs.ImageFilesystems[0].Timestamp == 0 {
		t.Errorf("ImageFsInfo = %v, %v", fs, err)
	}
	for range 2 {
		if _, err := s.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: spec(name)}); err != nil {
			t.Error(err)
		}
	}
	got, err = s.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: spec(pulled.ImageRef)})
	if err != nil || got.Image != nil {
		t.Errorf("after RemoveImage: %v, %v", got, err)
	}
}

func TestPullImageErrors(t *testing.T) {
	s, reg := images(t)
	pull := func(name string, auth *runtimeapi.AuthConfig) error {
		_, err := s.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: spec(name), Auth: auth})
		return err
	}
	name := reg.Host() + "/library/web:v1"
	absent := reg.Host() + "/library/web:404"
	err := pull(absent, nil)
	if status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), absent) || !strings.Contains(err.Error(), "does not have") {
		t.Errorf("absent image: %v", err)
	}
	if err := pull("", nil); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no name: %v", err)
	}
	if err := pull("Bad//Name", nil); err == nil || !strings.Contains(err.Error(), `image name "Bad//Name"`) {
		t.Errorf("bad name: %v", err)
	}
	reg.User, reg.Password = "alice", "secret"
	if err := pull(name, nil); status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), "secret:") {
		t.Errorf("no credentials: %v", err)
	}
	if err := pull(name, &runtimeapi.AuthConfig{Auth: "%%%"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("bad credentials: %v", err)
	}
	auth := base64.StdEncoding.EncodeToString([]byte("alice:secret"))
	if err := pull(name, &runtimeapi.AuthConfig{Auth: auth, ServerAddress: reg.Host()}); err != nil {
		t.Errorf("right credentials: %v", err)
	}
}
