package apps

import (
	"encoding/json"
	"fmt"

	apps "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
)

// statefulSpec checks a set by itself. What cannot change is checked in new sets only, old of which is nil.
func statefulSpec(set, old *apps.StatefulSet) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s := &set.Spec
		switch s.PodManagementPolicy {
		case apps.OrderedReadyPodManagement, apps.ParallelPodManagement:
		case "":
			e.Required(specPath.Child("podManagementPolicy"), "")
		default:
			e.Invalid(specPath.Child("podManagementPolicy"), s.PodManagementPolicy, "must be 'OrderedReady' or 'Parallel'")
		}
		statefulStrategy(e, specPath.Child("updateStrategy"), &s.UpdateStrategy)
		if r := s.PersistentVolumeClaimRetentionPolicy; r != nil {
			p := specPath.Child("persistentVolumeClaimRetentionPolicy")
			for _, v := range []struct {
				name  string
				value apps.PersistentVolumeClaimRetentionPolicyType
			}{{"whenDeleted", r.WhenDeleted}, {"whenScaled", r.WhenScaled}} {
				check.OneOf(e, p.Child(v.name), v.value,
					apps.RetainPersistentVolumeClaimRetentionPolicyType, apps.DeletePersistentVolumeClaimRetentionPolicyType)
			}
		}
		if old == nil {
			for i := range s.VolumeClaimTemplates {
				core.ValidateClaimSpec(e, specPath.Child("volumeClaimTemplates").Index(i).Child("spec"), &s.VolumeClaimTemplates[i].Spec)
			}
		}
		check.NonNegativePtr(e, specPath.Child("replicas"), s.Replicas)
		e.NonNegative(specPath.Child("minReadySeconds"), int64(s.MinReadySeconds))
		if s.Ordinals != nil {
			e.NonNegative(specPath.Child("ordinals.start"), int64(s.Ordinals.Start))
		}
		if old == nil && s.ServiceName != "" { // else it cannot change, and may be from before the rule
			e.Label(specPath.Child("serviceName"), s.ServiceName)
		}
		selectedTemplate(e, s.Selector, statefulTemplate(s), whose{empty: "statefulset", template: "StatefulSet", again: true})
	})
}

// statefulTemplate is the template as the pods get it: with a volume for each claim template, and with names that the set gives.
func statefulTemplate(s *apps.StatefulSetSpec) *corev1.PodTemplateSpec {
	t := s.Template.DeepCopy()
	t.Spec.Hostname, t.Spec.Subdomain = "", ""
	var volumes []corev1.Volume
	claimed := map[string]bool{}
	for _, c := range s.VolumeClaimTemplates {
		if claimed[c.Name] {
			continue
		}
		claimed[c.Name] = true
		volumes = append(volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name},
		}})
	}
	for _, v := range t.Spec.Volumes {
		if !claimed[v.Name] {
			volumes = append(volumes, v)
		}
	}
	t.Spec.Volumes = volumes
	return t
}

func statefulStrategy(e *check.Errors, p *field.Path, s *apps.StatefulSetUpdateStrategy) {
	r := s.RollingUpdate
	switch s.Type {
	case "":
		e.Required(p, "")
	case apps.OnDeleteStatefulSetStrategyType:
		if r != nil {
			e.Invalid(p.Child("rollingUpdate"), r, "only allowed for updateStrategy 'RollingUpdate'")
		}
	case apps.RollingUpdateStatefulSetStrategyType:
		if r == nil {
			return
		}
		p = p.Child("rollingUpdate")
		check.NonNegativePtr(e, p.Child("partition"), r.Partition)
		if r.MaxUnavailable != nil {
			intOrPercent(e, p.Child("maxUnavailable"), r.MaxUnavailable)
			if n, _ := valueOf(r.MaxUnavailable); n == 0 {
				e.Invalid(p.Child("maxUnavailable"), *r.MaxUnavailable, "cannot be 0")
			}
			atMostAll(e, p.Child("maxUnavailable"), r.MaxUnavailable)
		}
	default:
		e.Invalid(p, *s, "must be 'RollingUpdate' or 'OnDelete'")
	}
}

func validateNewStatefulSet(set *apps.StatefulSet) field.ErrorList { return statefulSpec(set, nil) }

func validateStatefulSetUpdate(set, old *apps.StatefulSet) field.ErrorList {
	errs := statefulSpec(set, old)
	now, was := set.Spec, old.Spec
	now.Replicas, now.Template, now.UpdateStrategy, now.MinReadySeconds = was.Replicas, was.Template, was.UpdateStrategy, was.MinReadySeconds
	now.Ordinals, now.RevisionHistoryLimit = was.Ordinals, was.RevisionHistoryLimit
	now.PersistentVolumeClaimRetentionPolicy = was.PersistentVolumeClaimRetentionPolicy
	if equality.Semantic.DeepEqual(now, was) {
		return errs
	}
	return append(errs, field.Forbidden(specPath, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "+
		"'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"))
}

func validateStatefulSetStatus(set, old *apps.StatefulSet) field.ErrorList {
	s := set.Status
	return check.Run(func(e *check.Errors) {
		core.ReplicaCounts(e, s.Replicas, []core.Count{
			{Field: "readyReplicas", N: s.ReadyReplicas}, {Field: "currentReplicas", N: s.CurrentReplicas},
			{Field: "updatedReplicas", N: s.UpdatedReplicas}, {Field: "availableReplicas", N: s.AvailableReplicas},
		}, func() {
			e.NonNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)
			check.NonNegativePtr(e, statusPath.Child("collisionCount"), s.CollisionCount)
		})
		if s.AvailableReplicas > s.ReadyReplicas {
			e.Invalid(statusPath.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than status.readyReplicas")
		}
		e.NotDecremented(statusPath.Child("collisionCount"), s.CollisionCount, old.Status.CollisionCount)
	})
}

func validateDaemonSet(d *apps.DaemonSet) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s, t := &d.Spec, specPath.Child("template")
		e.Selector(specPath.Child("selector"), s.Selector)
		if sel, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !sel.Matches(labels.Set(s.Template.Labels)) {
			e.Invalid(t.Child("metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`")
		}
		if s.Selector != nil && len(s.Selector.MatchLabels)+len(s.Selector.MatchExpressions) == 0 {
			e.Invalid(specPath.Child("selector"), s.Selector, "empty selector is invalid for daemonset")
		}
		core.ValidatePodTemplate(e, t, &s.Template)
		core.AlwaysRestart(e, t, &s.Template, "DaemonSet")
		e.NonNegative(specPath.Child("minReadySeconds"), int64(s.MinReadySeconds))
		daemonStrategy(e, specPath.Child("updateStrategy"), &s.UpdateStrategy)
		check.NonNegativePtr(e, specPath.Child("revisionHistoryLimit"), s.RevisionHistoryLimit)
	})
}

func daemonStrategy(e *check.Errors, p *field.Path, s *apps.DaemonSetUpdateStrategy) {
	r := s.RollingUpdate
	switch s.Type {
	case apps.OnDeleteDaemonSetStrategyType:
	case apps.RollingUpdateDaemonSetStrategyType:
		p = p.Child("rollingUpdate")
		if r == nil {
			e.Required(p, "")
			return
		}
		intOrPercent(e, p.Child("maxUnavailable"), r.MaxUnavailable)
		intOrPercent(e, p.Child("maxSurge"), r.MaxSurge)
		atMostAll(e, p.Child("maxUnavailable"), r.MaxUnavailable)
		atMostAll(e, p.Child("maxSurge"), r.MaxSurge)
		down, _ := valueOf(r.MaxUnavailable)
		up, _ := valueOf(r.MaxSurge)
		switch {
		case down != 0 && up != 0:
			e.Invalid(p.Child("maxSurge"), r.MaxSurge, "may not be set when maxUnavailable is non-zero")
		case down == 0 && up == 0:
			e.Required(p.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0")
		}
	default:
		shown := *s.DeepCopy()
		if r := shown.RollingUpdate; r != nil { // Kubernetes has them as plain numbers inside
			orPtr(&r.MaxUnavailable, intstr.IntOrString{})
			orPtr(&r.MaxSurge, intstr.IntOrString{})
		}
		e.Add(field.NotSupported(p, check.Plain(shown), []apps.DaemonSetUpdateStrategyType{apps.RollingUpdateDaemonSetStrategyType, apps.OnDeleteDaemonSetStrategyType}))
	}
}

func validateDaemonSetUpdate(d, old *apps.DaemonSet) field.ErrorList {
	return append(check.Run(func(e *check.Errors) { e.Immutable(specPath.Child("selector"), d.Spec.Selector, old.Spec.Selector) }),
		validateDaemonSet(d)...)
}

func validateDaemonSetStatus(d, old *apps.DaemonSet) field.ErrorList {
	s := d.Status
	return check.Run(func(e *check.Errors) {
		for _, c := range []core.Count{
			{Field: "currentNumberScheduled", N: s.CurrentNumberScheduled}, {Field: "numberMisscheduled", N: s.NumberMisscheduled},
			{Field: "desiredNumberScheduled", N: s.DesiredNumberScheduled}, {Field: "numberReady", N: s.NumberReady},
			{Field: "updatedNumberScheduled", N: s.UpdatedNumberScheduled}, {Field: "numberAvailable", N: s.NumberAvailable},
			{Field: "numberUnavailable", N: s.NumberUnavailable},
		} {
			e.NonNegative(statusPath.Child(c.Field), int64(c.N))
		}
		e.NonNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)
		check.NonNegativePtr(e, statusPath.Child("collisionCount"), s.CollisionCount)
		e.NotDecremented(statusPath.Child("collisionCount"), s.CollisionCount, old.Status.CollisionCount)
	})
}

func validateRevision(r *apps.ControllerRevision) field.ErrorList {
	return check.Run(func(e *check.Errors) { e.NonNegative(field.NewPath("revision"), r.Revision) })
}

func validateNewRevision(r *apps.ControllerRevision) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p := field.NewPath("data")
		var v any
		switch err := json.Unmarshal(r.Data.Raw, &v); {
		case r.Data.Raw == nil:
			e.Required(p, "data is mandatory")
		case err != nil:
			e.Invalid(p, "<value omitted>", fmt.Sprintf("error parsing data: %v", err))
		case v == nil:
			e.Required(p, "data is mandatory")
		default:
			if _, ok := v.(map[string]any); !ok {
				e.Required(p, "data must be a valid JSON object")
			}
		}
	})
}

func validateRevisionUpdate(r, old *apps.ControllerRevision) field.ErrorList {
	return check.Run(func(e *check.Errors) { e.Immutable(field.NewPath("data"), r.Data, old.Data) })
}
