package resource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/cpuset"

	"proa.dev/control/controltest"
	"proa.dev/kit/prom"
	"proa.dev/kubelet/topology"
)

// twoNodes is a machine of two sockets, a NUMA node of 4 GiB each, with two cores of two threads each.
func twoNodes() *topology.Machine {
	m := &topology.Machine{}
	for id := range 8 {
		core := id % 4
		m.CPUs = append(m.CPUs, topology.CPU{ID: id, Socket: core / 2, Node: core / 2, Core: core, Cache: core / 2})
	}
	for n := range 2 {
		m.Nodes = append(m.Nodes, topology.Node{ID: n, Memory: 4 << 30})
	}
	return m
}

// host counts what it is told.
type host struct {
	mu       sync.Mutex // guards repinned
	repinned int
}

func (h *host) Touch(types.UID)   {}
func (h *host) Pods() []*core.Pod { return nil }
func (h *host) Repin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.repinned++
}

func manager(t *testing.T, p Policies) (*Manager, *host) {
	t.Helper()
	p.ReservedCPUs = cpuset.New(0)
	p.ReservedMemory = map[int]core.ResourceList{0: {core.ResourceMemory: quantity.MustParse("1Gi")}}
	p.KeptMemory = quantity.MustParse("1Gi")
	m, err := New(Config{Root: t.TempDir(), Machine: twoNodes(), Log: slog.New(slog.DiscardHandler), Policies: p})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{}
	m.Bind(h)
	return m, h
}

func guaranteed(uid, cpu, memory string) *core.Pod {
	p := &core.Pod{}
	p.UID = types.UID(uid)
	list := core.ResourceList{core.ResourceCPU: quantity.MustParse(cpu), core.ResourceMemory: quantity.MustParse(memory)}
	p.Spec.Containers = []core.Container{{Name: "c", Resources: core.ResourceRequirements{Requests: list, Limits: list}}}
	return p
}

// places is the CPUs and nodes in the configuration of the pod's container, and the quota.
func places(t *testing.T, m *Manager, p *core.Pod) string {
	t.Helper()
	config := &runtimeapi.ContainerConfig{Linux: &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{CpuQuota: 200000}}}
	if err := m.Add(t.Context(), p, &p.Spec.Containers[0], config); err != nil {
		t.Fatal(err)
	}
	r := config.Linux.Resources
	out := r.CpusetCpus + " on " + r.CpusetMems
	if r.CpuQuota < 0 {
		out += " without quota"
	}
	return out
}

func TestNothingIsGivenByDefault(t *testing.T) {
	m, h := manager(t, Policies{})
	p := guaranteed("p", "2", "1Gi")
	if m.Wants(p) {
		t.Error("an ordinary pod has to be admitted")
	}
	if got := places(t, m, p); got != " on " || h.repinned > 0 {
		t.Errorf("got %s, repinned %d times", got, h.repinned)
	}
	if no := m.Fixed(p, guaranteed("p", "3", "1Gi")); no != "" {
		t.Errorf("resize: %s", no)
	}
}

func TestCPUsAndMemoryTogether(t *testing.T) {
	m, h := manager(t, Policies{CPU: "static", Memory: "Static", Topology: topology.SingleNUMA})
	p := guaranteed("p", "4", "2Gi")
	if !m.Wants(p) {
		t.Fatal("the pod is not admitted here")
	}
	if no := m.Admit(t.Context(), p); no != nil {
		t.Fatal(no)
	}
	if got, want := places(t, m, p), "2-3,6-7 on 1 without quota"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	shares := guaranteed("s", "500m", "1Gi")
	for pod, want := range map[*core.Pod]int64{p: 0, shares: 50000} {
		box := &runtimeapi.PodSandboxConfig{Linux: &runtimeapi.LinuxPodSandboxConfig{Resources: &runtimeapi.LinuxContainerResources{CpuQuota: 50000}}}
		if m.Shape(pod, box); box.Linux.Resources.CpuQuota != want {
			t.Errorf("pod %s has the quota %d, want %d", pod.UID, box.Linux.Resources.CpuQuota, want)
		}
	}
	if got, want := places(t, m, shares), "0-1,4-5 on "; got != want {
		t.Errorf("who shares has %s, want %s", got, want)
	}
	if h.repinned != 1 {
		t.Errorf("repinned %d times", h.repinned)
	}
	// Node 0 has three CPUs beside the reserved one, node 1 none: two are there, five are not on any node.
	has := m.Has(p, &p.Spec.Containers[0])
	if got := fmt.Sprint(has.GetCpuIds(), has.GetMemory()[0].GetSize()>>30, has.GetMemory()[0].GetTopology().GetNodes()[0].GetID()); got != "[2 3 6 7] 2 1" {
		t.Errorf("the pod-resources API tells %s", got)
	}
	no := m.Admit(t.Context(), guaranteed("q", "5", "1Gi"))
	if no == nil || no.Reason != "TopologyAffinityError" || no.Message != "Resources cannot be allocated with Topology locality" {
		t.Errorf("got %+v", no)
	}
	if no := m.Admit(t.Context(), guaranteed("q", "2", "1Gi")); no != nil {
		t.Errorf("got %+v", no)
	}
	shows(t, m, "kubelet_cpu_manager_shared_pool_size_millicores 1000", "kubelet_cpu_manager_exclusive_cpu_allocation_count 6",
		`kubelet_cpu_manager_allocation_per_numa{numa_node="0"} 2`, `kubelet_cpu_manager_allocation_per_numa{numa_node="1"} 4`)
	if no := m.Fixed(p, guaranteed("p", "3", "2Gi")); !strings.HasPrefix(no, `Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "static"`) {
		t.Errorf("resize: %q", no)
	}
	if err := m.Release(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	m.Keep(func(types.UID) bool { return false })
	if got, want := places(t, m, shares), "0-7 on "; got != want {
		t.Errorf("in the end who shares has %s, want %s", got, want)
	}
	shows(t, m, "kubelet_cpu_manager_pinning_requests_total 2", "kubelet_cpu_manager_pinning_errors_total 0", "kubelet_memory_manager_pinning_requests_total 2",
		"kubelet_cpu_manager_shared_pool_size_millicores 7000", "kubelet_cpu_manager_exclusive_cpu_allocation_count 0",
		"kubelet_topology_manager_admission_requests_total 3", "kubelet_topology_manager_admission_errors_total 1", "kubelet_topology_manager_admission_duration_ms_count 3",
		`kubelet_container_aligned_compute_resources_count{scope="container",boundary="numa_node"} 2`,
		`kubelet_container_aligned_compute_resources_failure_count{scope="container",boundary="numa_node"} 1`)
}

// shows wants lines on the page of metrics.
func shows(t *testing.T, m *Manager, lines ...string) {
	t.Helper()
	var p prom.Page
	m.Page(&p)
	for _, line := range lines {
		if !strings.Contains(p.String(), "\n"+line+"\n") {
			t.Errorf("there is no %s in\n%s", line, &p)
		}
	}
}

// A pod that is refused for one thing keeps nothing of another.
func TestRefusedPodsKeepNothing(t *testing.T) {
	m, _ := manager(t, Policies{CPU: "static", CPUOptions: map[string]string{"full-pcpus-only": "true"}, Memory: "Static"})
	if no := m.Admit(t.Context(), guaranteed("p", "3", "1Gi")); no == nil || no.Reason != "SMTAlignmentError" ||
		no.Message != "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2" {
		t.Errorf("got %+v", no)
	}
	no := m.Admit(t.Context(), guaranteed("p", "2", "8Gi"))
	if no == nil || no.Reason != "UnexpectedAdmissionError" || !strings.HasPrefix(no.Message, "Allocate failed due to [memorymanager] failed to get") {
		t.Errorf("got %+v", no)
	}
	if got := places(t, m, guaranteed("s", "500m", "1Gi")); got != "0-7 on " {
		t.Errorf("after pods that were refused: %s", got)
	}
	shows(t, m, "kubelet_cpu_manager_pinning_requests_total 2", "kubelet_cpu_manager_pinning_errors_total 1", "kubelet_memory_manager_pinning_requests_total 1",
		"kubelet_memory_manager_pinning_errors_total 1", `kubelet_container_aligned_compute_resources_count{scope="container",boundary="physical_cpu"} 1`,
		`kubelet_container_aligned_compute_resources_failure_count{scope="container",boundary="physical_cpu"} 1`)
}

func TestPodScope(t *testing.T) {
	m, _ := manager(t, Policies{CPU: "static", Topology: topology.SingleNUMA, TopologyScope: topology.ByPod})
	p := guaranteed("p", "2", "1Gi")
	second := p.Spec.Containers[0]
	second.Name = "d"
	p.Spec.Containers = append(p.Spec.Containers, second)
	if no := m.Admit(t.Context(), p); no != nil {
		t.Fatal(no)
	}
	one, _ := m.Place(p, &p.Spec.Containers[0])
	two, _ := m.Place(p, &p.Spec.Containers[1])
	if got := one + " and " + two; got != "2,6 and 3,7" {
		t.Errorf("got %s: both have to be on the node that has room for both", got)
	}
}

func TestDirectoriesWithLongNames(t *testing.T) {
	root := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	api := controltest.New(t)
	m, err := New(Config{Client: api.Client(), Root: root, Machine: twoNodes(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if err := m.Run(ctx); err != nil && !errors.Is(err, ctx.Err()) {
		t.Errorf("the node cannot run: %v", err)
	}
	if ctx.Err() == nil {
		t.Error("it ended by itself")
	}
}
