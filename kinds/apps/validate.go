package apps

import (
	apps "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
)

var specPath, statusPath = field.NewPath("spec"), field.NewPath("status")

// whose says for which kind a template is checked, in the kind's own words.
type whose struct {
	empty    string // what the kind is called where its selector is empty
	bad      string // what is said of a selector that is none
	template string // what the kind is called where its template runs not for ever
	again    bool   // the template's labels and annotations are looked at once more
}

// selectedTemplate checks a selector, and the template beside it that must match it and run for ever.
func selectedTemplate(e *check.Errors, s *metav1.LabelSelector, t *corev1.PodTemplateSpec, w whose) {
	p := specPath.Child("selector")
	if s == nil {
		e.Required(p, "")
	} else {
		e.Selector(p, s)
		if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
			e.Invalid(p, s, "empty selector is invalid for "+w.empty)
		}
	}
	at := specPath.Child("template")
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		e.Invalid(p, s, w.bad)
		return
	}
	if !sel.Empty() && !sel.Matches(labels.Set(t.Labels)) {
		e.Invalid(at.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")
	}
	core.ValidatePodTemplate(e, at, t)
	if w.again {
		e.Labels(at.Child("labels"), t.Labels)
		e.Annotations(at.Child("annotations"), t.Annotations)
	}
	core.AlwaysRestart(e, at, t, w.template)
}

// ofReplicas is for ReplicaSets and those who make them.
var ofReplicas = whose{empty: "deployment", bad: "invalid label selector", template: "ReplicaSet"}

// intOrPercent wants a number that is not negative, or a percentage.
func intOrPercent(e *check.Errors, p *field.Path, v *intstr.IntOrString) {
	switch {
	case v == nil:
	case v.Type == intstr.String:
		e.Invalids(p, *v, utilvalidation.IsValidPercent(v.StrVal))
	case v.Type == intstr.Int:
		e.NonNegative(p, int64(v.IntVal))
	default:
		e.Invalid(p, *v, "must be an integer or percentage (e.g '5%%')")
	}
}

// valueOf is the number in v, with or without a percent sign.
func valueOf(v *intstr.IntOrString) (n int, percent bool) {
	if v == nil {
		return 0, false
	}
	if v.Type == intstr.String && len(utilvalidation.IsValidPercent(v.StrVal)) == 0 {
		whole := intstr.FromString(v.StrVal)
		n, err := intstr.GetScaledValueFromIntOrPercent(&whole, 100, false)
		return n, err == nil
	}
	return v.IntValue(), false
}

func atMostAll(e *check.Errors, p *field.Path, v *intstr.IntOrString) {
	if n, percent := valueOf(v); percent && n > 100 {
		e.Invalid(p, *v, "must not be greater than 100%")
	}
}

func validateDeployment(d *apps.Deployment) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s := &d.Spec
		check.NonNegativePtr(e, specPath.Child("replicas"), s.Replicas)
		selectedTemplate(e, s.Selector, &s.Template, ofReplicas)
		deploymentStrategy(e, specPath.Child("strategy"), &s.Strategy)
		e.NonNegative(specPath.Child("minReadySeconds"), int64(s.MinReadySeconds))
		check.NonNegativePtr(e, specPath.Child("revisionHistoryLimit"), s.RevisionHistoryLimit)
		if n := s.ProgressDeadlineSeconds; n != nil {
			e.NonNegative(specPath.Child("progressDeadlineSeconds"), int64(*n))
			if *n <= s.MinReadySeconds {
				e.Invalid(specPath.Child("progressDeadlineSeconds"), *n, "must be greater than minReadySeconds")
			}
		}
	})
}

func deploymentStrategy(e *check.Errors, p *field.Path, s *apps.DeploymentStrategy) {
	switch s.Type {
	case apps.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			e.Forbidden(p.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")
		}
	case apps.RollingUpdateDeploymentStrategyType:
		r := s.RollingUpdate
		if r == nil {
			e.Required(p.Child("rollingUpdate"), "this should be defaulted and never be nil")
			return
		}
		p = p.Child("rollingUpdate")
		intOrPercent(e, p.Child("maxUnavailable"), r.MaxUnavailable)
		intOrPercent(e, p.Child("maxSurge"), r.MaxSurge)
		down, _ := valueOf(r.MaxUnavailable)
		up, _ := valueOf(r.MaxSurge)
		if down == 0 && up == 0 {
			e.Invalid(p.Child("maxUnavailable"), r.MaxUnavailable, "may not be 0 when `maxSurge` is 0")
		}
		atMostAll(e, p.Child("maxUnavailable"), r.MaxUnavailable)
	default:
		shown := *s.DeepCopy()
		if r := shown.RollingUpdate; r != nil { // Kubernetes has them as plain numbers inside
			orPtr(&r.MaxUnavailable, intstr.IntOrString{})
			orPtr(&r.MaxSurge, intstr.IntOrString{})
		}
		e.Add(field.NotSupported(p, check.Plain(shown), []apps.DeploymentStrategyType{apps.RecreateDeploymentStrategyType, apps.RollingUpdateDeploymentStrategyType}))
	}
}

func validateDeploymentUpdate(d, old *apps.Deployment) field.ErrorList {
	return check.Run(func(e *check.Errors) { e.Immutable(specPath.Child("selector"), d.Spec.Selector, old.Spec.Selector) })
}

func validateDeploymentStatus(d, old *apps.Deployment) field.ErrorList {
	s := d.Status
	return check.Run(func(e *check.Errors) {
		e.NonNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)
		core.ReplicaCounts(e, s.Replicas, []core.Count{
			{Field: "updatedReplicas", N: s.UpdatedReplicas}, {Field: "readyReplicas", N: s.ReadyReplicas},
			{Field: "availableReplicas", N: s.AvailableReplicas},
		}, func() {
			e.NonNegative(statusPath.Child("unavailableReplicas"), int64(s.UnavailableReplicas))
			check.NonNegativePtr(e, statusPath.Child("terminatingReplicas"), s.TerminatingReplicas)
			check.NonNegativePtr(e, statusPath.Child("collisionCount"), s.CollisionCount)
		})
		if s.AvailableReplicas > s.ReadyReplicas {
			e.Invalid(statusPath.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas")
		}
		e.NotDecremented(statusPath.Child("collisionCount"), s.CollisionCount, old.Status.CollisionCount)
	})
}

func validateReplicaSet(r *apps.ReplicaSet) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		check.NonNegativePtr(e, specPath.Child("replicas"), r.Spec.Replicas)
		e.NonNegative(specPath.Child("minReadySeconds"), int64(r.Spec.MinReadySeconds))
		selectedTemplate(e, r.Spec.Selector, &r.Spec.Template, ofReplicas)
	})
}

func validateReplicaSetUpdate(r, old *apps.ReplicaSet) field.ErrorList {
	return check.Run(func(e *check.Errors) { e.Immutable(specPath.Child("selector"), r.Spec.Selector, old.Spec.Selector) })
}

func validateReplicaSetStatus(r, _ *apps.ReplicaSet) field.ErrorList {
	s := r.Status
	return check.Run(func(e *check.Errors) {
		core.ReplicaCounts(e, s.Replicas, []core.Count{
			{Field: "fullyLabeledReplicas", N: s.FullyLabeledReplicas}, {Field: "readyReplicas", N: s.ReadyReplicas},
			{Field: "availableReplicas", N: s.AvailableReplicas},
		}, func() {
			check.NonNegativePtr(e, statusPath.Child("terminatingReplicas"), s.TerminatingReplicas)
			e.NonNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)
		})
		if s.AvailableReplicas > s.ReadyReplicas {
			e.Invalid(statusPath.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas")
		}
	})
}
