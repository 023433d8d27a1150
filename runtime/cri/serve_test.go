package cri_test

import (
	"context"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/cri"
)

// TestServe speaks CRI over the socket, as a kubelet of anybody's would.
func TestServe(t *testing.T) {
	h := newHost(t)
	socket := filepath.Join(t.TempDir(), "run", "cri.sock")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- cri.Serve(ctx, socket, h.rt, runtimeapi.UnimplementedImageServiceServer{}) }()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := runtimeapi.NewRuntimeServiceClient(conn)
	v, err := client.Version(ctx, &runtimeapi.VersionRequest{}, grpc.WaitForReady(true))
	if err != nil || v.RuntimeName != "proa" || v.RuntimeApiVersion != "v1" {
		t.Fatalf("version %v, %v", v, err)
	}
	events, err := client.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	st, err := client.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil || len(st.Status.Conditions) != 2 || !st.Status.Conditions[0].Status || !st.Status.Conditions[1].Status {
		t.Errorf("status %v, %v", st, err)
	}
	rc, err := client.RuntimeConfig(ctx, &runtimeapi.RuntimeConfigRequest{})
	if err != nil || rc.Linux.CgroupDriver != runtimeapi.CgroupDriver_CGROUPFS {
		t.Errorf("runtime config %v, %v", rc, err)
	}
	pod, err := client.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: h.pod("wire")})
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.Recv()
	if err != nil || e.ContainerId != pod.PodSandboxId || e.PodSandboxStatus.GetId() != pod.PodSandboxId {
		t.Errorf("event %v, %v", e, err)
	}
	stream, err := client.StreamPodSandboxes(ctx, &runtimeapi.StreamPodSandboxesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := stream.Recv(); err != nil || len(list.PodSandboxes) != 1 {
		t.Errorf("stream %v, %v", list, err)
	}
	if err := cri.Serve(ctx, socket, h.rt, runtimeapi.UnimplementedImageServiceServer{}); err == nil {
		t.Error("a second server took the socket")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
