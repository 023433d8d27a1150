package quota

import (
	"fmt"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/component-helpers/resource"

	corekinds "proa.dev/kinds/core"
	"proa.dev/kinds/core/resources"
	"proa.dev/object"
)

// ofPods are the names that pods use beside the number of pods.
func ofPods(n core.ResourceName) bool {
	switch n {
	case core.ResourceCPU, core.ResourceMemory, core.ResourceEphemeralStorage, core.ResourceRequestsCPU, core.ResourceRequestsMemory,
		core.ResourceRequestsEphemeralStorage, core.ResourceLimitsCPU, core.ResourceLimitsMemory, core.ResourceLimitsEphemeralStorage:
		return true
	}
	return resources.HugePages(n) || strings.HasPrefix(string(n), core.ResourceRequestsHugePagesPrefix) || ofDevices(n)
}

// ofDevices says that a name limits the requests of an extended resource, or of a device class by its implied name.
func ofDevices(n core.ResourceName) bool {
	bare, ok := strings.CutPrefix(string(n), core.DefaultResourceRequestsPrefix)
	return ok && (!resources.Native(n) || strings.HasPrefix(bare, resourceapi.ResourceDeviceClassPrefix))
}

// explicit are the resources of which, under a quota, every container must say how much it needs. A rule from before there were QoS
// classes, kept as it is.
var explicit = []core.ResourceName{core.ResourceCPU, core.ResourceLimitsCPU, core.ResourceLimitsMemory, core.ResourceMemory,
	core.ResourceRequestsCPU, core.ResourceRequestsMemory}

func podRequire(names []core.ResourceName, o object.Object) error {
	p := o.(*core.Pod)
	if podLevel(p) {
		return nil
	}
	var missing []string
	for _, n := range explicit {
		if !slices.Contains(names, n) {
			continue
		}
		lacking := map[string]bool{}
		for _, list := range [][]core.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for _, c := range list {
				if _, ok := compute(c.Resources.Requests, c.Resources.Limits)[n]; !ok {
					lacking[c.Name] = true
				}
			}
		}
		if len(lacking) > 0 {
			missing = append(missing, fmt.Sprintf("%s for: %s", n, strings.Join(sortedKeys(lacking), ",")))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("must specify %s", strings.Join(missing, "; "))
}

// podLevel says whether the pod as a whole requests or limits something.
func podLevel(p *core.Pod) bool { return resource.IsPodLevelResourcesSet(p) }

// podHandles: beside creates and resizes, a pod may come under other quotas by a deadline that it gets or loses.
func podHandles(ch Change) bool {
	switch ch.Sub {
	case "":
		return ch.Create || terminating(ch.Now.(*core.Pod)) != terminating(ch.Old.(*core.Pod))
	case "resize":
		return !ch.Create
	}
	return false
}

// podUsage: pods that have ended, or should long be gone, count as objects only.
func podUsage(o object.Object, now time.Time) core.ResourceList {
	p := o.(*core.Pod)
	if _, gone := lapsed(p, now); gone || p.Status.Phase == core.PodFailed || p.Status.Phase == core.PodSucceeded {
		return core.ResourceList{}
	}
	opt := resource.PodResourcesOptions{UseStatusResources: true}
	out := compute(resource.PodRequests(p, opt), resource.PodLimits(p, opt))
	out[core.ResourcePods] = one()
	return out
}

// LapsesAt is when a pod that is being deleted counts no more although it is still there; zero: it does not lapse, or has already.
func LapsesAt(p *core.Pod, now time.Time) time.Time {
	if at, is := lapsed(p, now); !is {
		return at
	}
	return time.Time{}
}

// compute is requests and limits by the names of quotas.
func compute(requests, limits core.ResourceList) core.ResourceList {
	out := core.ResourceList{}
	for n, q := range requests {
		switch {
		case n == core.ResourceCPU, n == core.ResourceMemory, n == core.ResourceEphemeralStorage, resources.HugePages(n):
			out[n] = q
			out[core.DefaultResourceRequestsPrefix+n] = q
		case resources.Extended(n), strings.HasPrefix(string(n), resourceapi.ResourceDeviceClassPrefix):
			out[core.DefaultResourceRequestsPrefix+n] = q
		}
	}
	for _, n := range []core.ResourceName{core.ResourceCPU, core.ResourceMemory, core.ResourceEphemeralStorage} {
		if q, ok := limits[n]; ok {
			out["limits."+n] = q
		}
	}
	return out
}

func podInScope(s core.ScopedResourceSelectorRequirement, o object.Object) bool {
	p := o.(*core.Pod)
	switch s.ScopeName {
	case core.ResourceQuotaScopeTerminating:
		return terminating(p)
	case core.ResourceQuotaScopeNotTerminating:
		return !terminating(p)
	case core.ResourceQuotaScopeBestEffort:
		return bestEffort(p)
	case core.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(p)
	case core.ResourceQuotaScopePriorityClass:
		return selects(s, p.Spec.PriorityClassName)
	case core.ResourceQuotaScopeCrossNamespacePodAffinity:
		return acrossNamespaces(p.Spec.Affinity)
	}
	return false
}

func terminating(p *core.Pod) bool {
	return p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0
}

func bestEffort(p *core.Pod) bool {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass == core.PodQOSBestEffort
	}
	return corekinds.QOS(p) == core.PodQOSBestEffort
}

// acrossNamespaces says whether a pod wants to be near to, or far from, pods of other namespaces.
func acrossNamespaces(a *core.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []core.PodAffinityTerm
	add := func(required []core.PodAffinityTerm, preferred []core.WeightedPodAffinityTerm) {
		terms = append(terms, required...)
		for _, w := range preferred {
			terms = append(terms, w.PodAffinityTerm)
		}
	}
	if a.PodAffinity != nil {
		add(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a.PodAntiAffinity != nil {
		add(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t core.PodAffinityTerm) bool { return len(t.Namespaces) != 0 || t.NamespaceSelector != nil })
}

func sortedKeys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
