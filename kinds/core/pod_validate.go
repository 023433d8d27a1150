package core

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core/volumes"
)

var specPath, metaPath, statusPath = field.NewPath("spec"), field.NewPath("metadata"), field.NewPath("status")

func validatePod(p *core.Pod) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		podAnnotations(e, metaPath.Child("annotations"), p.Annotations, &p.Spec)
		c := &podCheck{Errors: e, spec: &p.Spec, meta: &p.ObjectMeta}
		c.validate(specPath)
		if p.Spec.ServiceAccountName == "" {
			for i, v := range p.Spec.Volumes {
				if v.Projected == nil {
					continue
				}
				for j, s := range v.Projected.Sources {
					if s.ServiceAccountToken != nil {
						e.Forbidden(specPath.Child("volumes").Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"),
							"must not be specified when serviceAccountName is not set")
					}
				}
			}
		}
		for i, ctr := range p.Spec.Containers {
			imageSpaces(e, specPath.Child("containers").Index(i), ctr.Image)
		}
		for i, ctr := range p.Spec.InitContainers {
			imageSpaces(e, specPath.Child("initContainers").Index(i), ctr.Image)
		}
	})
}

// validateNewPod checks what later changes may break.
func validateNewPod(p *core.Pod) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if len(p.Spec.EphemeralContainers) > 0 {
			e.Forbidden(specPath.Child("ephemeralContainers"), "cannot be set on create")
		}
		if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
			e.Forbidden(specPath.Child("nodeName"), "cannot be set until all schedulingGates have been cleared")
		}
		c := &podCheck{Errors: e, spec: &p.Spec, meta: &p.ObjectMeta}
		c.profilesMatch(specPath, p.Annotations)
	})
}

func imageSpaces(e *check.Errors, p *field.Path, image string) {
	if strings.TrimSpace(image) != image {
		e.Invalid(p.Child("image"), image, "must not have leading or trailing whitespace")
	}
}

// podAnnotations checks the annotations that mean something for a pod or template.
func podAnnotations(e *check.Errors, p *field.Path, a map[string]string, s *core.PodSpec) {
	if v, mirror := a[core.MirrorPodAnnotationKey]; mirror && s.NodeName == "" {
		e.Invalid(p.Key(core.MirrorPodAnnotationKey), v, "must set spec.nodeName if mirror pod annotation is set")
	}
	if v := a[core.TolerationsAnnotationKey]; v != "" {
		var list []core.Toleration
		if err := json.Unmarshal([]byte(v), &list); err != nil {
			e.Invalid(p, core.TolerationsAnnotationKey, err.Error())
		} else {
			tolerations(e, p.Child(core.TolerationsAnnotationKey), list)
		}
	}
	if v, ok := a[core.PodDeletionCost]; ok {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || strconv.FormatInt(n, 10) != v {
			e.Invalid(p.Key(core.PodDeletionCost), v, "must be a 32bit integer")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(a)) {
		v := a[k]
		switch {
		case k == core.SeccompPodAnnotationKey, strings.HasPrefix(k, core.SeccompContainerAnnotationKeyPrefix):
			seccompAnnotation(e, p.Child(k), v)
		case strings.HasPrefix(k, core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix):
			name := strings.TrimPrefix(k, core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix)
			if !hasContainer(s, name) {
				e.Invalid(p.Key(k), name, "container not found")
			}
			if v != "" && v != core.DeprecatedAppArmorBetaProfileRuntimeDefault && v != core.DeprecatedAppArmorBetaProfileNameUnconfined &&
				!strings.HasPrefix(v, core.DeprecatedAppArmorBetaProfileNamePrefix) {
				e.Invalid(p.Key(k), v, fmt.Sprintf("invalid AppArmor profile name: %q", v))
			}
		}
	}
}

func seccompAnnotation(e *check.Errors, p *field.Path, v string) {
	switch local, is := strings.CutPrefix(v, core.SeccompLocalhostProfileNamePrefix); {
	case v == core.SeccompProfileRuntimeDefault, v == core.DeprecatedSeccompProfileDockerDefault, v == "unconfined":
	case is:
		volumes.DescendingPath(e, p, local)
	default:
		e.Invalid(p, v, "must be a valid seccomp profile")
	}
}

// updatable names the fields of a pod's spec that an update may change.
const updatable = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
	"`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

func validatePodUpdate(p, old *core.Pod) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		annotationChanges(e, metaPath.Child("annotations"), p.Annotations, old.Annotations)
		podAnnotations(e, metaPath.Child("annotations"), p.Annotations, &p.Spec)
		if len(p.Spec.Containers) != len(old.Spec.Containers) {
			e.Forbidden(specPath.Child("containers"), "pod updates may not add or remove containers")
			return
		}
		if len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
			e.Forbidden(specPath.Child("initContainers"), "pod updates may not add or remove containers")
			return
		}
		if !deadlineChange(e, specPath.Child("activeDeadlineSeconds"), p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds) {
			return
		}
		tolerationChanges(e, specPath.Child("tolerations"), p.Spec.Tolerations, old.Spec.Tolerations)
		for i, g := range p.Spec.SchedulingGates {
			if !slices.Contains(old.Spec.SchedulingGates, g) {
				e.Forbidden(specPath.Child("schedulingGates").Index(i).Child("name"),
					fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name))
			}
		}
		if equality.Semantic.DeepEqual(p.Spec, old.Spec) {
			return
		}
		rest := p.Spec.DeepCopy()
		withoutUpdatable(e, rest, &old.Spec)
		if !equality.Semantic.DeepEqual(*rest, old.Spec) {
			e.Forbidden(specPath, fmt.Sprintf("pod updates may not change fields other than %s\n%v", updatable, check.Diff(old.Spec, *rest)))
		}
	})
}

// withoutUpdatable sets back what s may change.
func withoutUpdatable(e *check.Errors, s, old *core.PodSpec) {
	for i := range s.Containers {
		s.Containers[i].Image = old.Containers[i].Image
	}
	for i := range s.InitContainers {
		s.InitContainers[i].Image = old.InitContainers[i].Image
	}
	s.ActiveDeadlineSeconds, s.SchedulingGates, s.Tolerations = old.ActiveDeadlineSeconds, old.SchedulingGates, old.Tolerations
	if g, was := s.TerminationGracePeriodSeconds, old.TerminationGracePeriodSeconds; g != nil && was != nil && *was < 0 && *g == 1 {
		s.TerminationGracePeriodSeconds = was
	}
	if len(old.SchedulingGates) == 0 {
		return
	}
	// While its scheduling is gated, a pod may still narrow down where it may go (KEP-3838).
	for k, v := range old.NodeSelector {
		if now, ok := s.NodeSelector[k]; !ok || now != v {
			e.Invalid(specPath.Child("nodeSelector"), s.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
			break
		}
	}
	s.NodeSelector = old.NodeSelector
	gatedAffinity(e, s, old)
}

func gatedAffinity(e *check.Errors, s, old *core.PodSpec) {
	var now, was *core.NodeAffinity
	if s.Affinity != nil {
		now = s.Affinity.NodeAffinity
	}
	if old.Affinity != nil {
		was = old.Affinity.NodeAffinity
	}
	if equality.Semantic.DeepEqual(now, was) {
		return
	}
	affinityAdditions(e, specPath.Child("affinity", "nodeAffinity", required, "nodeSelectorTerms"), termsOf(now), termsOf(was))
	switch {
	case s.Affinity == nil:
		s.Affinity = &core.Affinity{NodeAffinity: was}
	case old.Affinity == nil && s.Affinity.PodAffinity == nil && s.Affinity.PodAntiAffinity == nil:
		s.Affinity = nil
	default:
		s.Affinity.NodeAffinity = was
	}
}

func termsOf(a *core.NodeAffinity) []core.NodeSelectorTerm {
	if a == nil || a.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

func affinityAdditions(e *check.Errors, p *field.Path, now, old []core.NodeSelectorTerm) {
	if len(old) > 0 && len(old) != len(now) {
		e.Invalid(p, now, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
		return
	}
	for i, o := range old {
		n := now[i]
		nothing := len(o.MatchExpressions) == 0 && len(o.MatchFields) == 0 // an empty term matches nothing, and additions would widen it
		if nothing && len(n.MatchExpressions)+len(n.MatchFields) > 0 ||
			!startsWith(n.MatchExpressions, o.MatchExpressions) || !startsWith(n.MatchFields, o.MatchFields) {
			e.Invalid(p.Index(i), n, "only additions are allowed (no mutations or deletions)")
		}
	}
}

func startsWith(now, old []core.NodeSelectorRequirement) bool {
	return len(now) >= len(old) && equality.Semantic.DeepEqual(now[:len(old):len(old)], old[:len(old):len(old)])
}

func annotationChanges(e *check.Errors, p *field.Path, now, old map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(old)) {
		if v, ok := now[k]; ok && v == old[k] {
			continue
		}
		if strings.HasPrefix(k, core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) {
			e.Forbidden(p.Key(k), "may not remove or update AppArmor annotations")
		}
		if k == core.MirrorPodAnnotationKey {
			e.Forbidden(p.Key(k), "may not remove or update mirror pod annotation")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(now)) {
		if _, ok := old[k]; ok {
			continue
		}
		if strings.HasPrefix(k, core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) {
			e.Forbidden(p.Key(k), "may not add AppArmor annotations")
		}
		if k == core.MirrorPodAnnotationKey {
			e.Forbidden(p.Key(k), "may not add mirror pod annotation")
		}
	}
}

// deadlineChange lets a deadline come closer only. It says whether to go on.
func deadlineChange(e *check.Errors, p *field.Path, now, old *int64) bool {
	switch {
	case now == nil && old != nil:
		e.Invalid(p, now, "must not update from a positive integer to nil value")
	case now == nil:
	case *now < 0 || *now > math.MaxInt32:
		e.Invalid(p, *now, utilvalidation.InclusiveRangeError(0, math.MaxInt32))
		return false
	case old != nil && *old < *now:
		e.Invalid(p, *now, "must be less than or equal to previous value")
		return false
	}
	return true
}

func tolerationChanges(e *check.Errors, p *field.Path, now, old []core.Toleration) {
	for _, o := range old {
		if !slices.ContainsFunc(now, func(n core.Toleration) bool {
			n.TolerationSeconds = o.TolerationSeconds
			return equality.Semantic.DeepEqual(n, o)
		}) {
			e.Forbidden(p, "existing toleration can not be modified except its tolerationSeconds")
			return
		}
	}
}
