package core

import (
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/object"
)

// validateResize checks a change of the resources of a pod that may already run (KEP-1287): cpu and memory only, nothing taken away,
// the same quality of service.
func validateResize(obj, before object.Object) field.ErrorList {
	p, old := obj.(*core.Pod), before.(*core.Pod)
	if _, ok := old.Annotations[core.MirrorPodAnnotationKey]; ok {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == core.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	errs := validatePod(p)
	return append(errs, check.Run(func(e *check.Errors) {
		was := old.Status.QOSClass
		if was == "" {
			was = QOS(old)
		}
		if QOS(p) != was {
			e.Invalid(specPath, string(p.Status.QOSClass), "Pod QOS Class may not change as a result of resizing")
		}
		if !resizable(old) {
			e.Forbidden(specPath, "Pod running on node without support for resize")
		}
		rest := p.Spec.DeepCopy()
		podLevelResize(e, rest, &old.Spec)
		if len(old.Status.NodeAllocatableResourceClaimStatuses) > 0 {
			e.Forbidden(specPath, "pods with node allocatable resource claims cannot be resized")
		}
		same := sameOrder(e, "containers", rest.Containers, old.Spec.Containers)
		if !sameOrder(e, "initContainers", rest.InitContainers, old.Spec.InitContainers) || !same {
			return
		}
		resizes(e, rest, &old.Spec)
		if len(e.List) == 0 && !equality.Semantic.DeepEqual(*rest, old.Spec) {
			e.Forbidden(specPath, "only cpu and memory resources are mutable")
		}
	})...)
}

// resizable says whether the node of a pod reports the resources that its containers have, as nodes do that can change them.
func resizable(p *core.Pod) bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil {
			return c.Resources != nil
		}
	}
	return true
}

func sameOrder(e *check.Errors, name string, now, old []core.Container) bool {
	p := specPath.Child(name)
	if len(now) != len(old) {
		e.Forbidden(p, name+" may not be added or removed on resize")
		return false
	}
	same := true
	for i := range now {
		if now[i].Name != old[i].Name {
			e.Forbidden(p.Index(i).Child("name"), name+" may not be renamed or reordered on resize")
			same = false
		}
	}
	return same
}

// podLevelResize sets back in s what the resources of the whole pod may change.
func podLevelResize(e *check.Errors, s, old *core.PodSpec) {
	p := specPath.Child("resources")
	r, was := s.Resources, old.Resources
	if r == nil {
		if was != nil {
			e.Forbidden(p, "pod-level resources cannot be removed")
		}
		return
	}
	if was == nil {
		was = &core.ResourceRequirements{}
	} else {
		if removed(r.Requests, was.Requests) {
			e.Forbidden(p.Child("requests"), "pod-level resource requests cannot be removed")
		}
		if removed(r.Limits, was.Limits) {
			e.Forbidden(p.Child("limits"), "pod-level resource limits cannot be removed")
		}
	}
	r.Requests, r.Limits = withComputed(r.Requests, was.Requests), withComputed(r.Limits, was.Limits)
	if old.Resources == nil && len(r.Requests) == 0 && len(r.Limits) == 0 && len(r.Claims) == 0 {
		s.Resources = nil
	}
	if !equality.Semantic.DeepEqual(s.Resources, old.Resources) {
		e.Forbidden(specPath, "only cpu and memory resources are mutable at pod-level")
	}
}

// resizes sets back in s what the resources of containers may change. The containers of both are in the same order.
func resizes(e *check.Errors, s, old *core.PodSpec) {
	kept := func(p *field.Path, c, was *core.Container) bool {
		p = p.Child("resources")
		if removed(c.Resources.Requests, was.Resources.Requests) {
			e.Forbidden(p.Child("requests"), "resource requests cannot be removed")
		}
		if removed(c.Resources.Limits, was.Resources.Limits) {
			e.Forbidden(p.Child("limits"), "resource limits cannot be removed")
		}
		c.Resources.Requests = withComputed(c.Resources.Requests, was.Resources.Requests)
		c.Resources.Limits = withComputed(c.Resources.Limits, was.Resources.Limits)
		return equality.Semantic.DeepEqual(c, was)
	}
	for i := range s.InitContainers {
		at, c, was := specPath.Child("initContainers").Index(i), &s.InitContainers[i], &old.InitContainers[i]
		changed := !equality.Semantic.DeepEqual(c, was)
		if !kept(at, c, was) {
			e.Forbidden(at, "only cpu and memory resources for init or sidecar containers are mutable")
		}
		if !changed || c.RestartPolicy != nil && *c.RestartPolicy == core.ContainerRestartPolicyAlways {
			continue
		}
		for _, r := range c.ResizePolicy {
			if r.RestartPolicy == core.RestartContainer {
				e.Forbidden(at, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized")
			}
		}
	}
	for i := range s.Containers {
		if !kept(specPath.Child("containers").Index(i), &s.Containers[i], &old.Containers[i]) {
			e.Forbidden(specPath, "only cpu and memory resources are mutable")
		}
	}
}

func removed(now, old core.ResourceList) bool {
	for name := range old {
		if _, ok := now[name]; !ok {
			return true
		}
	}
	return false
}

// withComputed is now with the cpu and memory of old.
func withComputed(now, old core.ResourceList) core.ResourceList {
	if now == nil && old == nil {
		return nil
	}
	out := core.ResourceList{}
	for name, q := range now {
		if name != core.ResourceCPU && name != core.ResourceMemory {
			out[name] = q
		}
	}
	for _, name := range []core.ResourceName{core.ResourceCPU, core.ResourceMemory} {
		if q, ok := old[name]; ok {
			out[name] = q
		}
	}
	return out
}
