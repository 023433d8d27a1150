package spec

import (
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSwap has the cases of KEP-2400, on a node with 8 GiB of memory and 4 of swap.
func TestSwap(t *testing.T) {
	v2 := Node{Memory: 8 << 30, Swap: 4 << 30, CgroupV2: true}
	limited := v2
	limited.LimitedSwap = true
	v1 := limited
	v1.CgroupV2 = false
	memory := func(request, limit string) core.ResourceRequirements {
		r := core.ResourceRequirements{Requests: core.ResourceList{}, Limits: core.ResourceList{}}
		if request != "" {
			r.Requests[core.ResourceMemory] = resource.MustParse(request)
		}
		if limit != "" {
			r.Limits[core.ResourceMemory] = resource.MustParse(limit)
		}
		return r
	}
	high := int32(2_000_000_000)
	for _, c := range []struct {
		name      string
		node      Node
		resources core.ResourceRequirements
		change    func(*core.Pod)
		file      string
		total     int64 // of memory and swap, as v1 has it
	}{
		{"no swap", v2, memory("1Gi", "2Gi"), nil, "0", 0},
		{"no swap, no limit", v2, memory("", ""), nil, "0", 0},
		{"burstable", limited, memory("1Gi", "2Gi"), nil, "536870912", 0},
		{"burstable without a limit", limited, memory("2Gi", ""), nil, "1073741824", 0},
		{"guaranteed", limited, memory("1Gi", "1Gi"), func(p *core.Pod) { p.Status.QOSClass = core.PodQOSGuaranteed }, "0", 0},
		{"request is the limit in a burstable pod", limited, memory("1Gi", "1Gi"), func(p *core.Pod) { p.Status.QOSClass = core.PodQOSBurstable }, "0", 0},
		{"no request in a burstable pod", limited, memory("", ""), func(p *core.Pod) { p.Status.QOSClass = core.PodQOSBurstable }, "0", 0},
		{"best effort", limited, memory("", ""), nil, "0", 0},
		{"critical", limited, memory("1Gi", "2Gi"), func(p *core.Pod) { p.Spec.Priority = &high }, "0", 0},
		{"static", limited, memory("1Gi", "2Gi"), func(p *core.Pod) {
			p.Annotations = map[string]string{"kubernetes.io/config.source": "file"}
		}, "0", 0},
		{"more than the node has", limited, memory("9Gi", ""), nil, "0", 0},
		{"v1", v1, memory("1Gi", "2Gi"), nil, "", 2 << 30},
		{"v1 without a limit", v1, memory("1Gi", ""), nil, "", 0},
	} {
		pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Resources: c.resources}}}}
		if c.change != nil {
			c.change(pod)
		}
		r := Resources(&c.node, pod, &pod.Spec.Containers[0])
		if r.Unified["memory.swap.max"] != c.file || r.MemorySwapLimitInBytes != c.total {
			t.Errorf("%s: memory.swap.max %q, memory and swap %d, want %q and %d", c.name, r.Unified["memory.swap.max"], r.MemorySwapLimitInBytes, c.file, c.total)
		}
	}
}

// TestFilesOfV2: a container that runs out of memory ends whole, unless the node says otherwise, and huge pages are only for those who ask.
func TestFilesOfV2(t *testing.T) {
	pod := &core.Pod{Spec: core.PodSpec{Containers: []core.Container{{Name: "c"}, {Name: "huge", Resources: core.ResourceRequirements{
		Limits: core.ResourceList{"hugepages-2Mi": resource.MustParse("4Mi"), core.ResourceMemory: resource.MustParse("1Gi")}}}}}}
	n := &Node{CgroupV2: true, HugePages: []string{"1Gi", "2Mi"}}
	for i, want := range []map[string]uint64{{"1GB": 0, "2MB": 0}, {"1GB": 0, "2MB": 4 << 20}} {
		r := Resources(n, pod, &pod.Spec.Containers[i])
		if r.Unified["memory.oom.group"] != "1" || len(r.HugepageLimits) != len(want) {
			t.Errorf("%v, huge pages %v", r.Unified, r.HugepageLimits)
		}
		for _, h := range r.HugepageLimits {
			if limit, ok := want[h.PageSize]; !ok || limit != h.Limit {
				t.Errorf("huge pages of %s: %d, want %d", h.PageSize, h.Limit, limit)
			}
		}
	}
	n.SingleOOMKill = true
	if r := Resources(n, pod, &pod.Spec.Containers[0]); r.Unified["memory.oom.group"] != "" {
		t.Errorf("%v, but one process is to be killed", r.Unified)
	}
	if r := Resources(&Node{}, pod, &pod.Spec.Containers[0]); r.Unified != nil || r.HugepageLimits != nil {
		t.Errorf("on v1: %v, %v", r.Unified, r.HugepageLimits)
	}
}
