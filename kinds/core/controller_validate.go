package core

import (
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

func validateReplicationController(r *core.ReplicationController) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		e.NonNegative(specPath.Child("minReadySeconds"), int64(r.Spec.MinReadySeconds))
		if len(r.Spec.Selector) == 0 {
			e.Required(specPath.Child("selector"), "")
		}
		if r.Spec.Replicas == nil {
			e.Required(specPath.Child("replicas"), "")
		}
		check.NonNegativePtr(e, specPath.Child("replicas"), r.Spec.Replicas)
		p, t := specPath.Child("template"), r.Spec.Template
		if t == nil {
			e.Required(p, "")
			return
		}
		if len(r.Spec.Selector) > 0 && !labels.SelectorFromSet(r.Spec.Selector).Matches(labels.Set(t.Labels)) {
			e.Invalid(p.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")
		}
		ValidatePodTemplate(e, p, t)
		AlwaysRestart(e, p, t, "ReplicationController")
	})
}

// AlwaysRestart wants a template whose pods run for ever, as the kind of this name needs them.
func AlwaysRestart(e *check.Errors, p *field.Path, t *core.PodTemplateSpec, kind string) {
	if t.Spec.RestartPolicy != core.RestartPolicyAlways {
		check.OneOf(e, p.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, core.RestartPolicyAlways)
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		e.Forbidden(p.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported")
	}
}

func validateReplicationControllerStatus(r, _ *core.ReplicationController) field.ErrorList {
	s := r.Status
	return check.Run(func(e *check.Errors) {
		ReplicaCounts(e, s.Replicas, []Count{
			{"fullyLabeledReplicas", s.FullyLabeledReplicas}, {"readyReplicas", s.ReadyReplicas}, {"availableReplicas", s.AvailableReplicas},
		}, func() { e.NonNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration) })
		if s.AvailableReplicas > s.ReadyReplicas {
			e.Invalid(statusPath.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas")
		}
	})
}

// Count is one number of replicas in a status.
type Count struct {
	Field string
	N     int32
}

// ReplicaCounts wants that no number in a status is negative, and that none is greater than that of all replicas. Between the two it
// lets others look.
func ReplicaCounts(e *check.Errors, all int32, parts []Count, others func()) {
	e.NonNegative(statusPath.Child("replicas"), int64(all))
	for _, c := range parts {
		e.NonNegative(statusPath.Child(c.Field), int64(c.N))
	}
	others()
	for _, c := range parts {
		if c.N > all {
			e.Invalid(statusPath.Child(c.Field), c.N, "cannot be greater than status.replicas")
		}
	}
}

func validatePodTemplateObject(t *core.PodTemplate) field.ErrorList {
	return check.Run(func(e *check.Errors) { ValidatePodTemplate(e, field.NewPath("template"), &t.Template) })
}
