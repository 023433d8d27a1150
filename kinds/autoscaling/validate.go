package autoscaling

import (
	"errors"
	"fmt"

	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core/resources"
)

const (
	maxPeriod        = 1800 // seconds that a scaling policy may look back
	maxStabilization = 3600 // seconds that a recommendation may be held back
)

// rules is what the checks of one autoscaler have in common.
type rules struct {
	*check.Errors
	lowest     int32 // that minReplicas may be
	anyTarget  bool  // the target's apiVersion is not looked at
	coreTarget bool  // the target may be of the core group
	anyObject  bool  // nor that of objects that metrics are about
}

func validateNew(h *autoscaling.HorizontalPodAutoscaler) field.ErrorList {
	return validateUpdate(h, nil)
}

// validateUpdate lets stand what has been accepted before: no replicas at all, and targets without group.
func validateUpdate(h, old *autoscaling.HorizontalPodAutoscaler) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		r := rules{Errors: e, lowest: 1}
		ref := h.Spec.ScaleTargetRef
		r.coreTarget = ref.Kind == "ReplicationController"
		if old != nil {
			if n := old.Spec.MinReplicas; n != nil && *n == 0 {
				r.lowest = 0
			}
			was := old.Spec.ScaleTargetRef
			r.anyTarget = was.APIVersion == ref.APIVersion && was.Kind == ref.Kind
			for _, m := range old.Spec.Metrics {
				if m.Type == autoscaling.ObjectMetricSourceType && m.Object != nil && groupError(m.Object.DescribedObject.APIVersion, true) != nil {
					r.anyObject = true
				}
			}
		}
		r.spec(field.NewPath("spec"), &h.Spec)
	})
}

func validateStatus(h, _ *autoscaling.HorizontalPodAutoscaler) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		e.NonNegative(field.NewPath("status", "currentReplicas"), int64(h.Status.CurrentReplicas))
		e.NonNegative(field.NewPath("status", "desiredReplicas"), int64(h.Status.DesiredReplicas))
	})
}

func (r rules) spec(p *field.Path, s *autoscaling.HorizontalPodAutoscalerSpec) {
	if n := s.MinReplicas; n != nil && *n < r.lowest {
		r.Invalid(p.Child("minReplicas"), *n, fmt.Sprintf("must be greater than or equal to %d", r.lowest))
	}
	switch {
	case s.MaxReplicas == 0:
		r.Required(p.Child("maxReplicas"), "must be set and greater than 0")
	case s.MaxReplicas < 0:
		r.Invalid(p.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to 1")
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		r.Invalid(p.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	r.reference(p.Child("scaleTargetRef"), s.ScaleTargetRef, r.coreTarget, r.anyTarget)
	r.metrics(p.Child("metrics"), s)
	if b := s.Behavior; b != nil {
		r.scaling(p.Child("behavior", "scaleUp"), b.ScaleUp)
		r.scaling(p.Child("behavior", "scaleDown"), b.ScaleDown)
	}
}

func (r rules) reference(p *field.Path, ref autoscaling.CrossVersionObjectReference, coreGroup, any bool) {
	for _, f := range [][2]string{{"kind", ref.Kind}, {"name", ref.Name}} {
		if f[1] == "" {
			r.Required(p.Child(f[0]), "")
		} else {
			r.Invalids(p.Child(f[0]), f[1], path.IsValidPathSegmentName(f[1]))
		}
	}
	if any {
		return
	}
	if err := groupError(ref.APIVersion, coreGroup); err != nil {
		r.Invalid(p.Child("apiVersion"), ref.APIVersion, err.Error())
	}
}

func groupError(apiVersion string, coreGroup bool) error {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err == nil && gv.Group == "" && !coreGroup {
		return errors.New("apiVersion must specify API group")
	}
	return err
}

func (r rules) metrics(p *field.Path, s *autoscaling.HorizontalPodAutoscalerSpec) {
	toZero := false
	for i := range s.Metrics {
		m := &s.Metrics[i]
		r.metric(p.Index(i), m)
		toZero = toZero || m.Type == autoscaling.ObjectMetricSourceType || m.Type == autoscaling.ExternalMetricSourceType
	}
	if s.MinReplicas != nil && *s.MinReplicas == 0 && !toZero {
		r.Forbidden(p, "must specify at least one Object or External metric to support scaling to zero replicas")
	}
}

// metric looks at the first source that is there; it must be the one that the type names, and the only one.
func (r rules) metric(p *field.Path, m *autoscaling.MetricSpec) {
	known := []autoscaling.MetricSourceType{autoscaling.ContainerResourceMetricSourceType, autoscaling.ExternalMetricSourceType,
		autoscaling.ObjectMetricSourceType, autoscaling.PodsMetricSourceType, autoscaling.ResourceMetricSourceType}
	if m.Type == "" {
		r.Required(p.Child("type"), "must specify a metric source type")
	}
	check.OneOf(r.Errors, p.Child("type"), m.Type, known...)
	sources := []struct {
		name  string
		t     autoscaling.MetricSourceType
		there bool
		check func(*field.Path)
	}{
		{"object", autoscaling.ObjectMetricSourceType, m.Object != nil, func(p *field.Path) { r.object(p, m.Object) }},
		{"external", autoscaling.ExternalMetricSourceType, m.External != nil, func(p *field.Path) { r.external(p, m.External) }},
		{"pods", autoscaling.PodsMetricSourceType, m.Pods != nil, func(p *field.Path) { r.pods(p, m.Pods) }},
		{"resource", autoscaling.ResourceMetricSourceType, m.Resource != nil, func(p *field.Path) { r.resource(p, m.Resource) }},
		{"containerResource", autoscaling.ContainerResourceMetricSourceType, m.ContainerResource != nil,
			func(p *field.Path) { r.container(p, m.ContainerResource) }},
	}
	there, expected := 0, ""
	for _, s := range sources {
		if s.there {
			if there++; there == 1 {
				s.check(p.Child(s.name))
			}
		}
	}
	for _, s := range sources {
		if s.t == m.Type {
			if expected = s.name; !s.there {
				r.Required(p.Child(s.name), "must populate information for the given metric source")
			}
		}
	}
	if expected == "" {
		check.OneOf(r.Errors, p.Child("type"), m.Type, known...)
	}
	for _, s := range sources {
		if there > 1 && s.there && s.name != expected {
			r.Forbidden(p.Child(s.name), "must populate the given metric source only")
		}
	}
}

func (r rules) object(p *field.Path, s *autoscaling.ObjectMetricSource) {
	r.reference(p.Child("describedObject"), s.DescribedObject, true, r.anyObject)
	r.identifier(p.Child("metric"), s.Metric)
	r.target(p.Child("target"), &s.Target)
	if s.Target.Value == nil && s.Target.AverageValue == nil {
		r.Required(p.Child("target", "averageValue"), "must set either a target value or averageValue")
	}
}

func (r rules) external(p *field.Path, s *autoscaling.ExternalMetricSource) {
	r.identifier(p.Child("metric"), s.Metric)
	r.target(p.Child("target"), &s.Target)
	switch {
	case s.Target.Value == nil && s.Target.AverageValue == nil:
		r.Required(p.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target")
	case s.Target.Value != nil && s.Target.AverageValue != nil:
		r.Forbidden(p.Child("target", "value"), "may not set both a target value for metric and a per-pod target")
	}
}

func (r rules) pods(p *field.Path, s *autoscaling.PodsMetricSource) {
	r.identifier(p.Child("metric"), s.Metric)
	r.target(p.Child("target"), &s.Target)
	if s.Target.AverageValue == nil {
		r.Required(p.Child("target", "averageValue"), "must specify a positive target averageValue")
	}
}

func (r rules) resource(p *field.Path, s *autoscaling.ResourceMetricSource) {
	if s.Name == "" {
		r.Required(p.Child("name"), "must specify a resource name")
	}
	r.usage(p.Child("target"), &s.Target)
}

func (r rules) container(p *field.Path, s *autoscaling.ContainerResourceMetricSource) {
	if s.Name == "" {
		r.Required(p.Child("name"), "must specify a resource name")
	} else {
		resources.OfContainer(r.Errors, p.Child("name"), core.ResourceName(s.Name))
	}
	if s.Container == "" {
		r.Required(p.Child("container"), "must specify a container")
	} else {
		r.Label(p.Child("container"), s.Container)
	}
	r.usage(p.Child("target"), &s.Target)
}

// usage is a target in percent or in amount.
func (r rules) usage(p *field.Path, t *autoscaling.MetricTarget) {
	r.target(p, t)
	switch {
	case t.AverageUtilization == nil && t.AverageValue == nil:
		r.Required(p.Child("averageUtilization"), "must set either a target raw value or a target utilization")
	case t.AverageUtilization != nil && t.AverageValue != nil:
		r.Forbidden(p.Child("averageValue"), "may not set both a target raw value and a target utilization")
	}
}

func (r rules) target(p *field.Path, t *autoscaling.MetricTarget) {
	if t.Type == "" {
		r.Required(p.Child("type"), "must specify a metric target type")
	}
	switch t.Type {
	case autoscaling.UtilizationMetricType, autoscaling.ValueMetricType, autoscaling.AverageValueMetricType:
	default:
		r.Invalid(p.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue")
	}
	if t.Value != nil && t.Value.Sign() != 1 {
		r.Invalid(p.Child("value"), t.Value, "must be positive")
	}
	if t.AverageValue != nil && t.AverageValue.Sign() != 1 {
		r.Invalid(p.Child("averageValue"), t.AverageValue, "must be positive")
	}
	if t.AverageUtilization != nil && *t.AverageUtilization < 1 {
		r.Invalid(p.Child("averageUtilization"), t.AverageUtilization, "must be greater than 0")
	}
}

func (r rules) identifier(p *field.Path, id autoscaling.MetricIdentifier) {
	if id.Name == "" {
		r.Required(p.Child("name"), "must specify a metric name")
		return
	}
	r.Invalids(p.Child("name"), id.Name, path.IsValidPathSegmentName(id.Name))
}

func (r rules) scaling(p *field.Path, s *autoscaling.HPAScalingRules) {
	if s == nil {
		return
	}
	if n := s.StabilizationWindowSeconds; n != nil && *n < 0 {
		r.Invalid(p.Child("stabilizationWindowSeconds"), n, "must be greater than or equal to zero")
	} else if n != nil && *n > maxStabilization {
		r.Invalid(p.Child("stabilizationWindowSeconds"), n, fmt.Sprintf("must be less than or equal to %d", maxStabilization))
	}
	if s.SelectPolicy != nil {
		check.OneOf(r.Errors, p.Child("selectPolicy"), *s.SelectPolicy,
			autoscaling.DisabledPolicySelect, autoscaling.MaxChangePolicySelect, autoscaling.MinChangePolicySelect)
	}
	if len(s.Policies) == 0 {
		r.Required(p.Child("policies"), "must specify at least one Policy")
	}
	for i, x := range s.Policies {
		at := p.Child("policies").Index(i)
		check.OneOf(r.Errors, at.Child("type"), x.Type, autoscaling.PercentScalingPolicy, autoscaling.PodsScalingPolicy)
		if x.Value <= 0 {
			r.Invalid(at.Child("value"), x.Value, "must be greater than zero")
		}
		if x.PeriodSeconds <= 0 {
			r.Invalid(at.Child("periodSeconds"), x.PeriodSeconds, "must be greater than zero")
		}
		if x.PeriodSeconds > maxPeriod {
			r.Invalid(at.Child("periodSeconds"), x.PeriodSeconds, fmt.Sprintf("must be less than or equal to %d", maxPeriod))
		}
	}
	if s.Tolerance != nil {
		r.NonNegativeQuantity(p.Child("tolerance"), *s.Tolerance)
	}
}
