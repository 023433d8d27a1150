package kubelet_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/kubelet/cri/critest"
	"proa.dev/object"
)

func resources(cpu, memory string) core.ResourceRequirements {
	l := core.ResourceList{core.ResourceCPU: resource.MustParse(cpu), core.ResourceMemory: resource.MustParse(memory)}
	return core.ResourceRequirements{Requests: l, Limits: l}
}

func condition(p *core.Pod, t core.PodConditionType) *core.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// resized says whether the only container has these resources, and nothing is under way.
func resized(p *core.Pod, r core.ResourceRequirements) bool {
	if len(p.Status.ContainerStatuses) != 1 || condition(p, core.PodResizePending) != nil || condition(p, core.PodResizeInProgress) != nil {
		return false
	}
	s := p.Status.ContainerStatuses[0]
	return s.Resources != nil && s.Resources.Limits.Cpu().Cmp(*r.Limits.Cpu()) == 0 && s.Resources.Limits.Memory().Cmp(*r.Limits.Memory()) == 0 &&
		s.AllocatedResources.Cpu().Cmp(*r.Requests.Cpu()) == 0
}

func (b *bench) resize(name string, r core.ResourceRequirements) {
	b.t.Helper()
	p, ok := client.Lookup[core.Pod](b.api.View(), object.Key{Namespace: "default", Name: name})
	if !ok {
		b.t.Fatalf("no pod %s", name)
	}
	p = object.Clone(p)
	p.Generation++
	p.Spec.Containers[0].Resources = r
	if _, err := client.Update(context.Background(), b.api.Client(), p); err != nil {
		b.t.Fatal(err)
	}
}

func TestResize(t *testing.T) {
	b := newBench(t, critest.New("web:1"))
	pod := func(name string, r core.ResourceRequirements) *core.Pod {
		return &core.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec:       core.PodSpec{NodeName: "n1", Containers: []core.Container{{Name: "c", Image: "web:1", Resources: r}}},
		}
	}
	all := int64(runtime.NumCPU()) * 1000
	milli := func(n int64) string { return fmt.Sprintf("%dm", n) }
	b.create(pod("a", resources(milli(all/4), "64Mi")))
	b.create(pod("b", resources(milli(all/2), "64Mi")))
	b.await("a", "runs", ready)
	b.await("b", "runs", ready)

	b.create(pod("tiny", resources("1m", "64Mi")))
	b.await("tiny", "runs", ready)
	b.resize("tiny", resources("2m", "64Mi")) // the same to the kernel
	b.await("tiny", "resized", func(p *core.Pod) bool { return resized(p, resources("2m", "64Mi")) })
	b.resize("a", resources(milli(all/3), "96Mi"))
	p := b.await("a", "resized", func(p *core.Pod) bool { return resized(p, resources(milli(all/3), "96Mi")) })
	if p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Error("it was restarted")
	}

	b.resize("a", resources(milli(all*2), "96Mi"))
	p = b.await("a", "infeasible", func(p *core.Pod) bool { return condition(p, core.PodResizePending) != nil })
	want := fmt.Sprintf("Node didn't have enough capacity: cpu, requested: %d, capacity: %d", all*2, all)
	if c := condition(p, core.PodResizePending); c.Reason != "Infeasible" || c.Message != want || c.Status != core.ConditionTrue {
		t.Errorf("%+v, want %s", c, want)
	}
	if s := p.Status.ContainerStatuses[0]; s.AllocatedResources.Cpu().MilliValue() != all/3 || s.Resources.Limits.Cpu().MilliValue() != all/3 {
		t.Errorf("allocated %v, has %v", s.AllocatedResources, s.Resources)
	}

	b.resize("a", resources(milli(all-all/4), "96Mi"))
	p = b.await("a", "deferred", func(p *core.Pod) bool {
		c := condition(p, core.PodResizePending)
		return c != nil && c.Reason == "Deferred"
	})
	if c := condition(p, core.PodResizePending); !strings.HasPrefix(c.Message, "Node didn't have enough resource: cpu, requested: ") {
		t.Error(c.Message)
	}
	b.has(
		`kubelet_pod_pending_resizes{reason="deferred",priority_bucket="normal"} 1`,
		`kubelet_container_requested_resizes_total{resource="cpu",requirement="limits",operation="increase"} 3`,
		`kubelet_container_requested_resizes_total{resource="cpu",requirement="limits",operation="decrease"} 1`,
		`kubelet_container_requested_resizes_total{resource="memory",requirement="requests",operation="increase"} 1`,
	)
	b.kill() // what was allocated is known to the next one
	looked := b.rt.Calls("ListPodSandbox")
	b.start()
	poll(t, "the next one to look", func() bool { return b.rt.Calls("ListPodSandbox") > looked })
	b.has(`kubelet_pod_pending_resizes{reason="deferred",priority_bucket="normal"} 1`)
	p = b.await("a", "still deferred", func(p *core.Pod) bool { return condition(p, core.PodResizePending) != nil })
	if s := p.Status.ContainerStatuses[0]; s.AllocatedResources.Cpu().MilliValue() != all/3 {
		t.Errorf("allocated %v", s.AllocatedResources)
	}
	var zero int64
	if err := b.api.Client().Delete(context.Background(), client.TargetOf[core.Pod](object.Key{Namespace: "default", Name: "b"}), metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	b.await("a", "resized when there is room", func(p *core.Pod) bool { return resized(p, resources(milli(all-all/4), "96Mi")) })
	b.has(
		`kubelet_pod_deferred_accepted_resizes_total{retry_trigger="pods_removed"} 1`, `kubelet_pod_resize_duration_milliseconds_count{success="true"} 1`,
		`kubelet_pod_deferred_resize_duration_seconds_count{resolution="accepted",priority_bucket="normal"} 1`, "kubelet_pod_in_progress_resizes 0",
	)
}

func TestResizeByRestart(t *testing.T) {
	b := newBench(t, critest.New("web:1"))
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Spec: core.PodSpec{NodeName: "n1", Containers: []core.Container{{
		Name: "c", Image: "web:1", Resources: resources("100m", "64Mi"),
		ResizePolicy: []core.ContainerResizePolicy{
			{ResourceName: core.ResourceCPU, RestartPolicy: core.NotRequired}, {ResourceName: core.ResourceMemory, RestartPolicy: core.RestartContainer},
		},
	}}}}
	b.create(p)
	b.await("a", "runs", ready)
	b.resize("a", resources("200m", "64Mi"))
	p = b.await("a", "resized", func(p *core.Pod) bool { return resized(p, resources("200m", "64Mi")) })
	if n := p.Status.ContainerStatuses[0].RestartCount; n != 0 {
		t.Errorf("%d restarts for CPU", n)
	}
	b.resize("a", resources("200m", "128Mi"))
	b.await("a", "resized by a restart", func(p *core.Pod) bool {
		return resized(p, resources("200m", "128Mi")) && p.Status.ContainerStatuses[0].RestartCount == 1 && ready(p)
	})
	requests := resources("200m", "128Mi")
	requests.Requests = core.ResourceList{core.ResourceCPU: resource.MustParse("150m"), core.ResourceMemory: resource.MustParse("100Mi")}
	b.resize("a", requests) // of memory, too: it is the same in every cgroup, and asks for a restart none the less
	p = b.await("a", "restarted for a request", func(p *core.Pod) bool {
		return resized(p, requests) && p.Status.ContainerStatuses[0].RestartCount == 2 && ready(p)
	})
	if got := p.Status.AllocatedResources.Memory().String(); got != "100Mi" {
		t.Errorf("the pod's allocated memory is %s", got)
	}
}

// The cgroups of pod and container have what the status says.
func TestRealResize(t *testing.T) {
	m := newMachine(t)
	p := boxPod("web", "sleep", "100s")
	p.Spec.Containers[0].Resources = resources("100m", "64Mi")
	m.create(p)
	p = m.await("web", "runs", isReady)
	ctx := context.Background()
	patch := `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"200m","memory":"96Mi"},"limits":{"cpu":"200m","memory":"96Mi"}}}]}}`
	target := client.TargetOf[core.Pod](object.KeyOf(p))
	target.Sub = "resize"
	if _, err := m.api.Client.Patch(ctx, target, client.Patch{Type: types.StrategicMergePatchType, Data: []byte(patch)}, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	p = m.await("web", "resized", func(p *core.Pod) bool { return resized(p, resources("200m", "96Mi")) })
	if p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Error("it was restarted")
	}
	pod := "kubepods/pod" + string(p.UID)
	for _, file := range []struct{ v1, v2, want1, want2 string }{
		{"memory/%s/memory.limit_in_bytes", "%s/memory.max", "100663296", "100663296"},
		{"cpu/%s/cpu.cfs_quota_us", "%s/cpu.max", "20000", "20000 100000"},
	} {
		for _, dir := range []string{pod, pod + "/*"} {
			path, want := filepath.Join("/sys/fs/cgroup", fmt.Sprintf(file.v1, m.deps.CgroupParent+"/"+dir)), file.want1
			if found, _ := filepath.Glob(path); len(found) == 0 {
				path, want = filepath.Join("/sys/fs/cgroup", fmt.Sprintf(file.v2, m.deps.CgroupParent+"/"+dir)), file.want2
			}
			found, _ := filepath.Glob(path)
			if len(found) == 0 {
				t.Errorf("no %s", path)
			}
			for _, f := range found {
				if b, err := os.ReadFile(f); err != nil || strings.TrimSpace(string(b)) != want {
					t.Errorf("%s: %s, %v; want %s", f, b, err, want)
				}
			}
		}
	}
	// Less than it uses: refused, and told.
	patch = strings.ReplaceAll(patch, "96Mi", "1Ki")
	if _, err := m.api.Client.Patch(ctx, target, client.Patch{Type: types.StrategicMergePatchType, Data: []byte(patch)}, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	p = m.await("web", "refused", func(p *core.Pod) bool {
		c := condition(p, core.PodResizeInProgress)
		return c != nil && c.Reason == "Error"
	})
	if c := condition(p, core.PodResizeInProgress); !strings.HasPrefix(c.Message, `attempting to set container "c" memory limit (1024) below current usage (`) {
		t.Error(c.Message)
	}
}
