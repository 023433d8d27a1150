package process

import (
	"context"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	kubeletcri "proa.dev/kubelet/cri"
)

func TestContainerdThatLacks(t *testing.T) {
	yes, no := true, false
	devices := &runtimeapi.ContainerConfig{CDIDevices: []*runtimeapi.CDIDevice{{Name: "example.com/gpu=one"}}}
	images := &runtimeapi.ContainerConfig{Mounts: []*runtimeapi.Mount{{ContainerPath: "/i", Image: &runtimeapi.ImageSpec{Image: "sha256:1"}}}}
	for _, c := range []struct {
		config        *runtimeapi.ContainerConfig
		name, version string
		cdi           *bool
		want          string // what the refusal has
	}{
		{devices, "containerd", "1.6.20~ds1", nil, "containerd 1.6.20~ds1 does not support CDI devices: they need containerd 1.7"},
		{devices, "containerd", "v1.7.3", &no, "enable_cdi is not set"},
		{devices, "containerd", "v1.7.3", &yes, ""},
		{devices, "containerd", "2.0.0", nil, ""},
		{images, "containerd", "v2.0.5", &yes, "does not support image volumes: they need containerd 2.1"},
		{images, "containerd", "2.1.0-rc.0", &no, ""},
		{images, "containerd", "10.0", nil, ""},
		{images, "containerd", "main", nil, ""},
		{devices, "cri-o", "1.6", nil, ""},
		{&runtimeapi.ContainerConfig{Mounts: []*runtimeapi.Mount{{ContainerPath: "/i"}}}, "containerd", "1.6", nil, ""},
	} {
		got := lacks(c.config, &runtimeapi.VersionResponse{RuntimeName: c.name, RuntimeVersion: c.version}, containerdConfig{CDI: c.cdi})
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s %s: %q, want %q", c.name, c.version, got, c.want)
		}
	}
}

// imagesOf is a runtime with these images and this configuration.
type imagesOf struct {
	kubeletcri.Images
	kubeletcri.Runtime
	list   []*runtimeapi.Image
	config string
}

func (i imagesOf) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return &runtimeapi.ListImagesResponse{Images: i.list}, nil
}

func (i imagesOf) Status(context.Context, *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	return &runtimeapi.StatusResponse{Info: map[string]string{"config": i.config}}, nil
}

func TestImageOfSandboxesIsPinned(t *testing.T) {
	for _, c := range []struct{ config, pinned, want string }{
		{`{"sandboxImage":"registry.example/pause:1","systemdCgroup":false}`, "", "pause"},
		{`{"sandboxImage":"registry.example/pause:1"}`, "web", "web"}, // it says itself what is
		{`{"sandboxImage":7}`, "", ""},
		{``, "", ""},
	} {
		rt := imagesOf{config: c.config}
		for _, name := range []string{"web", "pause"} {
			rt.list = append(rt.list, &runtimeapi.Image{Id: name, RepoTags: []string{"registry.example/" + name + ":1"}, Pinned: name == c.pinned})
		}
		r, err := foreignPins{rt, rt}.ListImages(t.Context(), &runtimeapi.ListImagesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, i := range r.GetImages() {
			if i.GetPinned() {
				got += i.GetId()
			}
		}
		if got != c.want {
			t.Errorf("%s: %q is pinned, want %q", c.config, got, c.want)
		}
	}
}
