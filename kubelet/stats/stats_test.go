package stats

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/spec"
)

// figures is a runtime that only counts.
type figures struct {
	cri.Runtime
	sandboxes []*runtimeapi.PodSandboxStats
	fail      error
}

func (f *figures) ListPodSandboxStats(context.Context, *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	return &runtimeapi.ListPodSandboxStatsResponse{Stats: f.sandboxes}, f.fail
}

func (f *figures) ListContainerStats(context.Context, *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	return &runtimeapi.ListContainerStatsResponse{}, f.fail
}

type host struct {
	pod *core.Pod
	rt  observe.Pod
}

func (h *host) Pods() []*core.Pod { return []*core.Pod{h.pod} }
func (h *host) Observed(_ context.Context, uid types.UID) (observe.Pod, bool) {
	return h.rt, uid == h.pod.UID
}

func u64(v uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: v} }

// setup is a node with one pod "web" of one container that has used so much CPU, and a volume with a file of 4096 bytes.
func setup(t *testing.T, used time.Duration) (*Collector, *figures) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	h := &host{pod: &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"}, Spec: core.PodSpec{
		Containers: []core.Container{{Name: "c", Image: "img:1", Resources: core.ResourceRequirements{Limits: core.ResourceList{"cpu": resource.MustParse("250m"), "memory": resource.MustParse("1Ki")}}}},
		Volumes:    []core.Volume{{Name: "v", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}}},
	}}}
	started := time.Unix(1_700_000_100, 0)
	h.rt.SetSandbox(observe.Sandbox{ID: "s", Ready: true, Created: started})
	h.rt.SetContainer(observe.Container{ID: "id", Name: "c", Image: "img:1", State: observe.Running, Started: started.Add(time.Second)})
	labels := observe.SandboxLabels(h.pod)
	f := &figures{}
	f.set(labels, used)
	return New(Deps{Runtime: f, Host: h, Node: &spec.Node{Name: "n1", Root: dir, Memory: 1 << 30}, Proc: "testdata/proc",
		Volume: func(*core.Pod, *core.Volume) (string, bool) { return dir, true }}), f
}

// set is what the runtime says from now on.
func (f *figures) set(labels map[string]string, used time.Duration) {
	now := time.Now().UnixNano()
	cpu := &runtimeapi.CpuUsage{Timestamp: now, UsageCoreNanoSeconds: u64(uint64(used))}
	f.sandboxes = []*runtimeapi.PodSandboxStats{{
		Attributes: &runtimeapi.PodSandboxAttributes{Id: "s", Labels: labels},
		Linux: &runtimeapi.LinuxPodSandboxStats{
			Cpu: cpu, Memory: &runtimeapi.MemoryUsage{Timestamp: now, WorkingSetBytes: u64(3000)},
			Network: &runtimeapi.NetworkUsage{Timestamp: now, Interfaces: []*runtimeapi.NetworkInterfaceUsage{{Name: "eth0", RxBytes: u64(7)}}},
			Containers: []*runtimeapi.ContainerStats{{
				Attributes: &runtimeapi.ContainerAttributes{Id: "id", Labels: labels, Metadata: &runtimeapi.ContainerMetadata{Name: "c"}},
				Cpu:        cpu, Memory: &runtimeapi.MemoryUsage{Timestamp: now, WorkingSetBytes: u64(2000)},
			}},
		},
	}}
}

func TestSummary(t *testing.T) {
	c, _ := setup(t, 5*time.Second)
	s, err := c.Summary(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	n := s.Node
	if got, want := *n.CPU.UsageCoreNanoSeconds, uint64(160*10*time.Millisecond); got != want { // user, nice, system, irq, softirq
		t.Errorf("CPU time of the node: got %d, want %d", got, want)
	}
	if *n.Memory.WorkingSetBytes != 500<<10 || *n.Memory.AvailableBytes != 500<<10 || *n.Memory.UsageBytes != 600<<10 || *n.Memory.PageFaults != 77 {
		t.Errorf("memory of the node: got %+v", n.Memory)
	}
	if *n.Swap.SwapUsageBytes != 50<<10 || n.CPU.PSI.Some.Avg10 != 1.5 || n.CPU.PSI.Some.Total != 12345 || n.CPU.PSI.Full.Total != 67 || n.Memory.PSI != nil {
		t.Errorf("swap %+v, pressure %+v", n.Swap, n.CPU.PSI)
	}
	if n.Network.Name != "ens5" || *n.Network.RxErrors != 1 || *n.Network.TxBytes != 2000 || len(n.Network.Interfaces) != 1 {
		t.Errorf("network of the node: got %+v", n.Network)
	}
	if *n.Rlimit.MaxPID != 9000 || *n.Rlimit.NumOfRunningProcesses != 123 || n.StartTime.Unix() != 1_700_000_000 {
		t.Errorf("processes %+v, started %v", n.Rlimit, n.StartTime)
	}
	if len(s.Pods) != 1 || len(s.Pods[0].Containers) != 1 {
		t.Fatalf("pods: got %+v", s.Pods)
	}
	p := s.Pods[0]
	if p.PodRef.Name != "web" || p.StartTime.Unix() != 1_700_000_100 || *p.Memory.WorkingSetBytes != 3000 || *p.Network.Interfaces[0].RxBytes != 7 {
		t.Errorf("pod: got %+v", p)
	}
	if k := p.Containers[0]; k.Name != "c" || k.StartTime.Unix() != 1_700_000_101 || *k.Memory.WorkingSetBytes != 2000 || k.CPU.UsageNanoCores != nil {
		t.Errorf("container: got %+v", k)
	}
	// A file of two names counts once; the directory counts too.
	if v := p.VolumeStats; len(v) != 1 || v[0].Name != "v" || *v[0].UsedBytes < 4096 || *v[0].UsedBytes >= 3*4096 || *v[0].InodesUsed != 2 {
		t.Errorf("volumes: got %+v", v)
	}
	if *p.EphemeralStorage.UsedBytes != *p.VolumeStats[0].UsedBytes {
		t.Errorf("ephemeral storage: got %d, want that of the volume", *p.EphemeralStorage.UsedBytes)
	}
	if len(s.Node.SystemContainers) != 2 || *s.Node.SystemContainers[0].Memory.WorkingSetBytes != 3000 {
		t.Errorf("system containers: got %+v", s.Node.SystemContainers)
	}
}

// A rate is known from the second reading on, and belongs to the time between two that are a second apart.
func TestRate(t *testing.T) {
	c, f := setup(t, 5*time.Second)
	labels := f.sandboxes[0].Attributes.Labels
	synctest.Test(t, func(t *testing.T) {
		rate := func(used time.Duration) *uint64 {
			f.set(labels, used)
			s, err := c.Summary(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			if s.Pods[0].VolumeStats != nil || s.Pods[0].Network != nil || s.Node.Fs != nil {
				t.Error("more than CPU and memory was read")
			}
			return s.Pods[0].Containers[0].CPU.UsageNanoCores
		}
		if r := rate(time.Second); r != nil {
			t.Errorf("after one reading: %d", *r)
		}
		time.Sleep(2 * time.Second)
		if r := rate(2 * time.Second); r == nil || *r != 500_000_000 {
			t.Errorf("one second in two: got %v, want 500000000", r)
		}
		time.Sleep(100 * time.Millisecond)
		if r := rate(3 * time.Second); r == nil || *r != 500_000_000 {
			t.Errorf("a moment later: got %v, want the rate as it was", r)
		}
		time.Sleep(2 * time.Second)
		if r := rate(time.Second); r != nil {
			t.Errorf("after a restart of the count: got %d, want none", *r)
		}
		f.sandboxes = nil
		time.Sleep(keep + time.Second)
		if _, err := c.Summary(t.Context(), true); err != nil || len(c.rates) != 1 {
			t.Errorf("long after the pod is gone: %v, readings of %v; want that of the node alone", err, c.rates)
		}
	})
}

func TestClaims(t *testing.T) {
	c, _ := setup(t, 0)
	pod := c.Host.Pods()[0]
	claim := func(name string) core.VolumeSource {
		return core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: name}}
	}
	pod.Spec.Volumes = append(pod.Spec.Volumes, core.Volume{Name: "a", VolumeSource: claim("data")}, core.Volume{Name: "b", VolumeSource: claim("data")},
		core.Volume{Name: "e", VolumeSource: core.VolumeSource{Ephemeral: &core.EphemeralVolumeSource{}}})
	c.Fill = func(_ *core.Pod, v *core.Volume) *stats.FsStats {
		if v.Name != "e" {
			return nil
		}
		return &stats.FsStats{CapacityBytes: new(uint64(77)), AvailableBytes: new(uint64(7))}
	}
	var p prom.Page
	c.WriteClaims(&p)
	text := p.String()
	for name, want := range map[string]int{"data": 6, "web-e": 2, "web-v": 0} {
		if got := strings.Count(text, `{namespace="ns",persistentvolumeclaim="`+name+`"} `); got != want {
			t.Errorf("%d figures of %s, want %d in\n%s", got, name, want, text)
		}
	}
	if !strings.Contains(text, "# TYPE kubelet_volume_stats_capacity_bytes gauge\n") || !strings.Contains(text, `kubelet_volume_stats_capacity_bytes{namespace="ns",persistentvolumeclaim="web-e"} 77`) {
		t.Errorf("no capacity in\n%s", text)
	}
}

func TestPages(t *testing.T) {
	c, f := setup(t, 5*time.Second)
	page, err := c.Resource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# TYPE container_cpu_usage_seconds_total counter\ncontainer_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"web\"} 5 ",
		"\nnode_cpu_usage_seconds_total 1.6 ", "\npod_memory_working_set_bytes{namespace=\"ns\",pod=\"web\"} 3000 ", "\nresource_scrape_error 0\n",
		"\ncontainer_start_time_seconds{container=\"c\",namespace=\"ns\",pod=\"web\"} 1.700000101e+09\n",
	} {
		if !strings.Contains("\n"+page.String(), want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	page, err = c.Cadvisor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\ncontainer_cpu_usage_seconds_total{container=\"c\",cpu=\"total\",id=\"" + c.Node.Cgroup(c.Host.Pods()[0]) + "/id\",image=\"img:1\",name=\"id\",namespace=\"ns\",pod=\"web\"} 5 ",
		"\ncontainer_memory_working_set_bytes{container=\"c\",", "\ncontainer_start_time_seconds{container=\"c\",", "\nmachine_memory_bytes{boot_id=",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	f.fail = errors.New("no runtime")
	if page, err := c.Resource(t.Context()); err == nil || !strings.Contains(page.String(), "\nresource_scrape_error 1\n") {
		t.Errorf("without a runtime: %v\n%s", err, page)
	}
}
