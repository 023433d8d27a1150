package podresources

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"
	alpha "k8s.io/kubelet/pkg/apis/podresources/v1alpha1"

	"proa.dev/kit/prom"
)

// fixed has one pod, whose containers have a device each that is named after them.
type fixed struct{ pod *core.Pod }

func (f fixed) Active() []*core.Pod { return []*core.Pod{f.pod} }
func (f fixed) Has(_ *core.Pod, c *core.Container) *api.ContainerResources {
	return &api.ContainerResources{Name: c.Name, Devices: []*api.ContainerDevices{{ResourceName: "r", DeviceIds: []string{"d-" + c.Name}}}}
}
func (f fixed) Allocatable() *api.AllocatableResourcesResponse {
	return &api.AllocatableResourcesResponse{CpuIds: []int64{1, 2}}
}

func TestAnswers(t *testing.T) {
	always := core.ContainerRestartPolicyAlways
	pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}}
	pod.Spec.InitContainers = []core.Container{{Name: "init"}, {Name: "side", RestartPolicy: &always}}
	pod.Spec.Containers = []core.Container{{Name: "main"}}
	root := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var answers Answers
	go func() { done <- Serve(ctx, root, fixed{pod}, &answers) }()
	conn, err := grpc.NewClient("unix://"+filepath.Join(root, Socket), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := api.NewPodResourcesListerClient(conn)
	wait := grpc.WaitForReady(true)
	limit, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	list, err := c.List(limit, &api.ListPodResourcesRequest{}, wait)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range list.GetPodResources() {
		for _, one := range p.GetContainers() {
			got = append(got, fmt.Sprint(p.GetNamespace(), "/", p.GetName(), "/", one.GetName(), "=", one.GetDevices()[0].GetDeviceIds()))
		}
	}
	if want := "ns/p/side=[d-side] ns/p/main=[d-main]"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if one, err := c.Get(limit, &api.GetPodResourcesRequest{PodNamespace: "ns", PodName: "p"}); err != nil || len(one.GetPodResources().GetContainers()) != 2 {
		t.Errorf("got %v, %v", one, err)
	}
	if _, err := c.Get(limit, &api.GetPodResourcesRequest{PodNamespace: "ns", PodName: "q"}); err == nil || status.Convert(err).Message() != "pod q in namespace ns not found" {
		t.Errorf("got %v", err)
	}
	if all, err := c.GetAllocatableResources(limit, &api.AllocatableResourcesRequest{}); err != nil || len(all.GetCpuIds()) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
	if old, err := alpha.NewPodResourcesListerClient(conn).List(limit, &alpha.ListPodResourcesRequest{}); err != nil || old.GetPodResources()[0].GetContainers()[1].GetDevices()[0].GetDeviceIds()[0] != "d-main" {
		t.Errorf("got %v, %v", old, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var page prom.Page
	answers.Page(&page)
	for _, want := range []string{
		`requests_total{server_api_version="v1"} 4`, `requests_total{server_api_version="v1alpha1"} 1`, `requests_list{server_api_version="v1"} 1`,
		`requests_list{server_api_version="v1alpha1"} 1`, `requests_get{server_api_version="v1"} 2`, `requests_get_allocatable{server_api_version="v1"} 1`,
		`errors_get{server_api_version="v1"} 1`,
	} {
		if !strings.Contains(page.String(), "\nkubelet_pod_resources_endpoint_"+want+"\n") {
			t.Errorf("there is no %s in\n%s", want, &page)
		}
	}
}

func TestRate(t *testing.T) {
	now := time.Now()
	b := &bucket{left: burst, at: now}
	n := 0
	for b.take(now) {
		n++
	}
	if n != burst {
		t.Errorf("%d at once, want %d", n, burst)
	}
	for range 50 { // half a second, one every hundredth
		now = now.Add(10 * time.Millisecond)
		if b.take(now) {
			n++
		}
	}
	if n < burst+49 || b.take(now) {
		t.Errorf("%d after half a second", n)
	}
}
