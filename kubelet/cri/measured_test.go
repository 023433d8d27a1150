package cri_test

import (
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/cri/critest"
)

func TestCallsAreCounted(t *testing.T) {
	var k cri.Calls
	rt, images := k.Runtime(critest.New()), k.Images(critest.New("web:1"))
	for range 3 {
		if _, err := rt.Version(t.Context(), &runtimeapi.VersionRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := rt.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: "none"}); !cri.NotFound(err) {
		t.Errorf("the error of a container that is not there: %v", err)
	}
	if _, err := images.ListImages(t.Context(), &runtimeapi.ListImagesRequest{}); err != nil {
		t.Fatal(err)
	}
	config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "p", Namespace: "ns", Uid: "u"}}
	config.Linux = &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: &runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD}},
	}}
	if _, err := rt.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: "runc"}); err != nil {
		t.Fatal(err)
	}
	var p prom.Page
	k.Page(&p)
	text := p.String()
	for _, line := range []string{
		`kubelet_runtime_operations_total{operation_type="version"} 3`, `kubelet_runtime_operations_total{operation_type="list_images"} 1`,
		`kubelet_runtime_operations_errors_total{operation_type="container_status"} 1`, `kubelet_runtime_operations_duration_seconds_count{operation_type="version"} 3`,
		`kubelet_runtime_operations_duration_seconds_bucket{operation_type="version",le="0.0125"} 3`,
		`kubelet_run_podsandbox_duration_seconds_count{runtime_handler="runc"} 1`, "kubelet_started_pods_total 1", "kubelet_started_pods_errors_total 0",
		"kubelet_started_user_namespaced_pods_total 1", "kubelet_started_user_namespaced_pods_errors_total 0",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("there is no %s in\n%s", line, text)
		}
	}
	if strings.Contains(text, `errors_total{operation_type="version"}`) {
		t.Error("what never failed has failures")
	}
}
