package cri_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/archive"
	"proa.dev/runtime/cri"
	"proa.dev/runtime/image"
	"proa.dev/runtime/oci/ocitest"
)

// TestContainersOfRealImages runs containers on an image of many layers: what the layers add and take away, the
// configuration, and that containers neither see nor disturb each other's files.
func TestContainersOfRealImages(t *testing.T) {
	h := newHost(t)
	base, err := archive.Tree(ocitest.RootFS(t))
	if err != nil {
		t.Fatal(err)
	}
	spec := archive.Spec{
		Names: []string{"layered:1"},
		Config: ocispec.ImageConfig{
			Entrypoint: []string{"/bin/box"}, Cmd: []string{"env"}, Env: []string{"PATH=/bin", "FROM=image"}, User: "alice", WorkingDir: "/home/alice",
		},
		Layers: [][]archive.File{base, {{Path: "data/old", Mode: 0o644, Content: []byte("old")}}, {{Path: "data/.wh.old", Mode: 0o644}}},
	}
	// More directories than the one page of options that mount(2) takes.
	for i := range 60 {
		spec.Layers = append(spec.Layers, []archive.File{{Path: fmt.Sprintf("data/n%02d", i), Mode: 0o644, Content: []byte{byte('a' + i%26)}}})
	}
	var tar bytes.Buffer
	if _, err := archive.Build(&tar, spec); err != nil {
		t.Fatal(err)
	}
	store, err := image.Open(image.Config{Root: filepath.Join(t.TempDir(), "images")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Import(t.Context(), &tar); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.deps.Images = store
	h.start()
	pod := h.runPod(h.pod("layered"))
	container := func(name string, args ...string) *runtimeapi.ContainerConfig {
		c := ctr(name, args...)
		c.Image.Image = "layered:1"
		return c
	}
	if out := h.output(pod, container("env")); !strings.Contains(out, "FROM=image\n") {
		t.Errorf("environment of the image is not there:\n%s", out)
	}
	if out := h.output(pod, container("id", "id")); !strings.HasPrefix(out, "uid 1000 gid 1001") {
		t.Errorf("user of the image: %s", out)
	}
	out := h.output(pod, container("ls", "ls", "/data"))
	if strings.Contains(out, "old") || strings.Count(out, "\n") != 60 {
		t.Errorf("files of the layers: %s", out)
	}
	writer := container("write", "write", "/home/alice/mine", "x")
	writer.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 0}
	if s := h.awaitExit(h.run(pod, writer)); s.ExitCode != 0 {
		t.Errorf("write: %v", s)
	}
	if out := h.output(pod, container("look", "ls", "/home/alice")); strings.Contains(out, "mine") {
		t.Errorf("one container sees what another wrote: %s", out)
	}
	status, err := cri.NewImages(store).ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: "layered:1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list(t, h, pod) {
		if c.ImageId != status.Image.Id {
			t.Errorf("container %s has image %s; want %s, as the image service says", c.Metadata.Name, c.ImageId, status.Image.Id)
		}
	}
	if _, err := h.rt.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		t.Fatal(err)
	}
	if left := store.Prepared(); len(left) != 0 {
		t.Errorf("root file systems left after the pod is gone: %v", left)
	}
}

func list(t *testing.T, h *host, pod string) []*runtimeapi.Container {
	t.Helper()
	res, err := h.rt.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{PodSandboxId: pod}})
	if err != nil || len(res.Containers) == 0 {
		t.Fatalf("ListContainers = %v, %v", res, err)
	}
	return res.Containers
}
