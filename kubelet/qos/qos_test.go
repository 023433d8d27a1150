package qos

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/spec"
)

func list(cpu, memory string) core.ResourceList {
	return core.ResourceList{core.ResourceCPU: resource.MustParse(cpu), core.ResourceMemory: resource.MustParse(memory)}
}

func pod(class core.PodQOSClass, cpu string) *core.Pod {
	p := &core.Pod{Spec: core.PodSpec{Containers: []core.Container{{Resources: core.ResourceRequirements{Requests: list(cpu, "1Mi")}}}}}
	p.Status.QOSClass = class
	return p
}

func TestPlan(t *testing.T) {
	got := Plan([]*core.Pod{
		pod(core.PodQOSBurstable, "500m"), pod(core.PodQOSBurstable, "250m"), pod(core.PodQOSGuaranteed, "3"), pod(core.PodQOSBestEffort, "0"),
	}, Without(list("4", "8Gi"), list("1", "2Gi")), true)
	for name, want := range map[string][2]int64{"kubepods": {3072, 6 << 30}, "kubepods/burstable": {768, 0}, "kubepods/besteffort": {2, 0}} {
		if r := got[name]; r == nil || r.CpuShares != want[0] || r.MemoryLimitInBytes != want[1] {
			t.Errorf("%s: %v, want %v", name, r, want)
		}
	}
	if got := Plan(nil, list("4", "8Gi"), false)["kubepods"]; got.MemoryLimitInBytes != 0 || got.CpuShares != 4096 {
		t.Errorf("nothing reserved: %v", got)
	}
}

type groups struct {
	mu   sync.Mutex
	sets []string
	fail bool
}

func (g *groups) Set(path string, r *runtimeapi.LinuxContainerResources) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sets = append(g.sets, fmt.Sprintf("%s=%d", path, r.CpuShares))
	if g.fail {
		return errors.New("no")
	}
	return nil
}

func (g *groups) take() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := slices.Sorted(slices.Values(g.sets))
	g.sets = nil
	return out
}

func TestOnlyChangesAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &groups{}
		var pods []*core.Pod
		k := New(g, &spec.Node{CgroupParent: "/x"}, list("2", "1Gi"), false, func() []*core.Pod { return pods }, slog.New(slog.DiscardHandler))
		go k.Run(t.Context())
		is := func(what string, want ...string) {
			t.Helper()
			time.Sleep(time.Second) // of synctest's clock
			synctest.Wait()
			if got := g.take(); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		is("at first", "/x/kubepods/besteffort=2", "/x/kubepods/burstable=2", "/x/kubepods=2048")
		k.Changed()
		is("nothing")
		pods = append(pods, pod(core.PodQOSBurstable, "1"))
		k.Changed()
		k.Changed()
		is("a pod", "/x/kubepods/burstable=1024")
		g.fail = true
		pods = nil
		k.Changed()
		is("none, in vain", "/x/kubepods/burstable=2")
		g.fail = false
		k.Changed()
		is("once more", "/x/kubepods/burstable=2")
		var page prom.Page
		k.Page(&page)
		if want := `kubelet_cgroup_manager_duration_seconds_count{operation_type="update"} 6`; !strings.Contains(page.String(), want+"\n") {
			t.Errorf("there is no %s in\n%s", want, &page)
		}
	})
}
