package qos

import (
	"context"
	"log/slog"
	"maps"
	"path"
	"time"

	core "k8s.io/api/core/v1"
	podresource "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/spec"
)

// Groups writes cgroups.
type Groups interface {
	// Set makes the cgroup if need be, and gives it these limits; what is zero stays as it is.
	Set(path string, r *runtimeapi.LinuxContainerResources) error
}

// pause is the least time between two looks: pods come in crowds.
const pause = 200 * time.Millisecond

// Keeper keeps the cgroups of one node.
type Keeper struct {
	groups Groups
	node   *spec.Node
	all    core.ResourceList // what all pods together may have: the machine without what is reserved
	capped bool              // some memory is reserved
	pods   func() []*core.Pod
	log    *slog.Logger
	wake   chan struct{}
	took   prom.Times[[1]string]
}

// New starts nothing. capped says that all pods together are held to all's memory.
func New(g Groups, node *spec.Node, all core.ResourceList, capped bool, pods func() []*core.Pod, log *slog.Logger) *Keeper {
	return &Keeper{groups: g, node: node, all: all, capped: capped, pods: pods, log: log, wake: make(chan struct{}, 1)}
}

// Page writes how long it took to write the groups.
func (k *Keeper) Page(p *prom.Page) {
	k.took.Page(p, "kubelet_cgroup_manager_duration_seconds", "[ALPHA] How long it took to write a control group.", [1]string{"operation_type"})
}

// Changed tells that pods came, went or changed what they ask for. It never blocks.
func (k *Keeper) Changed() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run keeps the cgroups until ctx ends. One that cannot be written is tried again with the next change.
func (k *Keeper) Run(ctx context.Context) error {
	done := map[string]int64{} // the shares that each has
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		for name, r := range Plan(k.pods(), k.all, k.capped) {
			if have, ok := done[name]; ok && have == r.CpuShares {
				continue
			}
			began := time.Now()
			err := k.groups.Set(path.Join("/", k.node.CgroupParent, name), r)
			k.took.Add(prom.Usual, [1]string{"update"}, int64(time.Since(began)))
			if err != nil {
				k.log.Warn("cgroup of pods not set", "cgroup", name, "err", err)
				delete(done, name)
				continue
			}
			done[name] = r.CpuShares
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-k.wake:
			t.Reset(pause)
		}
	}
}

// Plan is what each cgroup gets, by its path below the parent of all.
func Plan(pods []*core.Pod, all core.ResourceList, capped bool) map[string]*runtimeapi.LinuxContainerResources {
	burstable := int64(0)
	for _, p := range pods {
		if spec.QOS(p) == core.PodQOSBurstable {
			cpu := podresource.PodRequests(p, podresource.PodResourcesOptions{})[core.ResourceCPU]
			burstable += cpu.MilliValue()
		}
	}
	top := &runtimeapi.LinuxContainerResources{CpuShares: spec.Shares(all.Cpu().MilliValue())}
	if capped {
		top.MemoryLimitInBytes = all.Memory().Value()
	}
	return map[string]*runtimeapi.LinuxContainerResources{
		"kubepods":            top,
		"kubepods/burstable":  {CpuShares: spec.Shares(burstable)},
		"kubepods/besteffort": {CpuShares: spec.Shares(0)},
	}
}

// Without is all that a machine has but for what is reserved.
func Without(all, reserved core.ResourceList) core.ResourceList {
	out := maps.Clone(all)
	for name, q := range reserved {
		left := out[name]
		left.Sub(q)
		out[name] = left
	}
	return out
}
