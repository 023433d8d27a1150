package process

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	kubeletcri "proa.dev/kubelet/cri"
)

// CreateContainer refuses what the runtime is too old for and would leave out without a word, or with one that nobody understands: CRI does not
// tell whether a runtime knows a field.
func (r foreignRuntime) CreateContainer(ctx context.Context, req *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	c := req.GetConfig()
	if len(c.GetCDIDevices()) > 0 || slices.ContainsFunc(c.GetMounts(), ofImage) {
		version, err := r.Version(ctx, &runtimeapi.VersionRequest{})
		if err != nil {
			return nil, err
		}
		how, err := r.Status(ctx, &runtimeapi.StatusRequest{Verbose: true})
		if err != nil {
			return nil, err
		}
		if why := lacks(c, version, configOf(how)); why != "" {
			return nil, status.Error(codes.Unimplemented, why)
		}
	}
	return r.Conn.CreateContainer(ctx, req)
}

func ofImage(m *runtimeapi.Mount) bool { return m.GetImage().GetImage() != "" }

// lacks says what of a container a containerd can not do; "" if it can, and for all other runtimes.
func lacks(c *runtimeapi.ContainerConfig, v *runtimeapi.VersionResponse, set containerdConfig) string {
	if v.GetRuntimeName() != "containerd" {
		return ""
	}
	devices, images := len(c.GetCDIDevices()) > 0, slices.ContainsFunc(c.GetMounts(), ofImage)
	name := "container runtime containerd " + v.GetRuntimeVersion()
	switch {
	case devices && before(v.GetRuntimeVersion(), 1, 7):
		return name + " does not support CDI devices: they need containerd 1.7 or newer"
	case devices && set.CDI != nil && !*set.CDI:
		return name + " does not support CDI devices: enable_cdi is not set in its configuration"
	case images && before(v.GetRuntimeVersion(), 2, 1):
		return name + " does not support image volumes: they need containerd 2.1 or newer"
	}
	return ""
}

// before compares versions such as "1.6.20~ds1" and "v2.1.0-rc.0". One that nobody can read is new.
func before(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(version, "%d.%d", &a, &b); err != nil {
		if _, err := fmt.Sscanf(version, "v%d.%d", &a, &b); err != nil {
			return false
		}
	}
	return a < major || a == major && b < minor
}

// containerdConfig is what matters here of the configuration that containerd shows.
type containerdConfig struct {
	SandboxImage string `json:"sandboxImage"`
	CDI          *bool  `json:"enableCDI"` // nil: it does not say
}

// configOf reads it; the zero value stands for a runtime that shows none, or another one.
func configOf(s *runtimeapi.StatusResponse) (c containerdConfig) {
	if json.Unmarshal([]byte(s.GetInfo()["config"]), &c) != nil {
		return containerdConfig{}
	}
	return c
}

// foreignPins are the images of another runtime. Containerd before 1.7 does not say that the image of sandboxes is pinned, although without it no
// pod starts any more.
type foreignPins struct {
	kubeletcri.Images
	runtime kubeletcri.Runtime
}

// ListImages implements cri.Images.
func (f foreignPins) ListImages(ctx context.Context, req *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	r, err := f.Images.ListImages(ctx, req)
	if err != nil || slices.ContainsFunc(r.GetImages(), (*runtimeapi.Image).GetPinned) {
		return r, err
	}
	how, err := f.runtime.Status(ctx, &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		return nil, fmt.Errorf("ask for the image of sandboxes: %w", err)
	}
	if box := configOf(how).SandboxImage; box != "" {
		for _, i := range r.GetImages() {
			i.Pinned = slices.Contains(i.GetRepoTags(), box) || slices.Contains(i.GetRepoDigests(), box)
		}
	}
	return r, nil
}
