package core

import (
	core "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"proa.dev/kinds/core/resources"
)

// QOS is the quality-of-service class of a pod by its requests and limits of cpu and memory: Guaranteed when every container has
// both limits and requests equal them, BestEffort when none names either, else Burstable. Pod-level resources, where set, decide alone.
func QOS(p *core.Pod) core.PodQOSClass {
	requests, limits := core.ResourceList{}, core.ResourceList{}
	every := true // every container limits both
	if r := p.Spec.Resources; r != nil {
		addComputed(requests, r.Requests)
		if n := addComputed(limits, r.Limits); len(r.Limits) > 0 && n < 2 {
			every = false
		}
	} else {
		for _, list := range [][]core.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for _, c := range list {
				addComputed(requests, c.Resources.Requests)
				if addComputed(limits, c.Resources.Limits) < 2 {
					every = false
				}
			}
		}
	}
	if len(requests) == 0 && len(limits) == 0 {
		return core.PodQOSBestEffort
	}
	if !every || len(requests) != len(limits) {
		return core.PodQOSBurstable
	}
	for name, r := range requests {
		if l, ok := limits[name]; !ok || l.Cmp(r) != 0 {
			return core.PodQOSBurstable
		}
	}
	return core.PodQOSGuaranteed
}

// addComputed adds the positive amounts of cpu and memory of from to sum and says how many of the two there were.
func addComputed(sum, from core.ResourceList) (n int) {
	for _, name := range []core.ResourceName{core.ResourceCPU, core.ResourceMemory} {
		q, ok := from[name]
		if !ok || q.Sign() != 1 {
			continue
		}
		n++
		q = q.DeepCopy()
		q.Add(sum[name])
		sum[name] = q
	}
	return n
}

// defaultPodLevelLimits lets a pod with pod-level resources limit its huge pages to what its containers have (KEP-2837).
func defaultPodLevelLimits(p *core.Pod) {
	r := p.Spec.Resources
	if r == nil || len(r.Limits) == 0 && len(r.Requests) == 0 {
		return
	}
	for name, q := range resource.AggregateContainerLimits(p, resource.PodResourcesOptions{}) {
		_, requested := r.Requests[name]
		_, limited := r.Limits[name]
		if !resources.HugePages(name) || !resource.IsSupportedPodLevelResource(name) || requested || limited {
			continue
		}
		if r.Limits == nil {
			r.Limits = core.ResourceList{}
		}
		r.Limits[name] = q.DeepCopy()
	}
}

// defaultPodLevelRequests fills pod-level requests from the containers' requests, and where they have none from the pod's own
// limits (KEP-2837).
func defaultPodLevelRequests(p *core.Pod) {
	r := p.Spec.Resources
	if r == nil || len(r.Limits) == 0 {
		return
	}
	fill := func(from core.ResourceList, overcommitOnly bool) {
		for name, q := range from {
			if _, ok := r.Requests[name]; ok || !resource.IsSupportedPodLevelResource(name) || overcommitOnly && resources.HugePages(name) {
				continue
			}
			if r.Requests == nil {
				r.Requests = core.ResourceList{}
			}
			r.Requests[name] = q.DeepCopy()
		}
	}
	fill(resource.AggregateContainerRequests(p, resource.PodResourcesOptions{}), true)
	fill(r.Limits, false)
}
