package autoscaling

import (
	"fmt"
	"strings"
	"time"

	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
)

// HorizontalPodAutoscaler is autoscaling/v2 HorizontalPodAutoscaler, also served as autoscaling/v1: how many replicas there are to be,
// between two bounds, by what is measured.
var HorizontalPodAutoscaler = kinds.Def[autoscaling.HorizontalPodAutoscaler, *autoscaling.HorizontalPodAutoscaler]{
	Path:           "autoscaling/v2/horizontalpodautoscalers",
	Short:          []string{"hpa"},
	Categories:     []string{"all"},
	Status:         true,
	Also:           []kinds.Other{v1},
	Default:        defaultScaler,
	Prepare:        func(h, _ *autoscaling.HorizontalPodAutoscaler) { dropRoundTrip(h) },
	PrepareStatus:  func(h, _ *autoscaling.HorizontalPodAutoscaler) { dropRoundTrip(h) },
	ValidateCreate: validateNew, ValidateUpdate: validateUpdate, ValidateStatus: validateStatus,
	Columns: scalerColumns(),
	Row: func(h *autoscaling.HorizontalPodAutoscaler, now time.Time) []any {
		low := "<unset>"
		if n := h.Spec.MinReplicas; n != nil {
			low = fmt.Sprint(*n)
		}
		return []any{
			h.Name, h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name, targets(h.Spec.Metrics, h.Status.CurrentMetrics),
			low, int64(h.Spec.MaxReplicas), int64(h.Status.CurrentReplicas), kinds.Age(h.CreationTimestamp, now),
		}
	},
}

func scalerColumns() []kinds.Column {
	spec, status := autoscaling.HorizontalPodAutoscalerSpec{}.SwaggerDoc(), autoscaling.HorizontalPodAutoscalerStatus{}.SwaggerDoc()
	return kinds.Columns("Name", "Reference|"+spec["scaleTargetRef"], "Targets|"+spec["metrics"], "MinPods|"+spec["minReplicas"],
		"MaxPods|"+spec["maxReplicas"], "Replicas|"+status["currentReplicas"], "Age")
}

const defaultUtilization = 80 // percent of the CPU

func defaultScaler(h *autoscaling.HorizontalPodAutoscaler) {
	s := &h.Spec
	if s.MinReplicas == nil {
		s.MinReplicas = ptr.To[int32](1)
	}
	if len(s.Metrics) == 0 {
		s.Metrics = []autoscaling.MetricSpec{cpu(defaultUtilization)}
	}
	if b := s.Behavior; b != nil {
		if b.ScaleUp == nil {
			b.ScaleUp = &autoscaling.HPAScalingRules{}
		}
		if b.ScaleUp.StabilizationWindowSeconds == nil {
			b.ScaleUp.StabilizationWindowSeconds = ptr.To[int32](0)
		}
		defaultRules(b.ScaleUp, policy(autoscaling.PodsScalingPolicy, 4), policy(autoscaling.PercentScalingPolicy, 100))
		if b.ScaleDown == nil {
			b.ScaleDown = &autoscaling.HPAScalingRules{}
		}
		defaultRules(b.ScaleDown, policy(autoscaling.PercentScalingPolicy, 100))
	}
}

// cpu is the target of so much of the CPU that the pods asked for.
func cpu(percent int32) autoscaling.MetricSpec {
	return autoscaling.MetricSpec{Type: autoscaling.ResourceMetricSourceType, Resource: &autoscaling.ResourceMetricSource{
		Name: core.ResourceCPU, Target: autoscaling.MetricTarget{Type: autoscaling.UtilizationMetricType, AverageUtilization: &percent},
	}}
}

func policy(t autoscaling.HPAScalingPolicyType, n int32) autoscaling.HPAScalingPolicy {
	return autoscaling.HPAScalingPolicy{Type: t, Value: n, PeriodSeconds: 15}
}

func defaultRules(r *autoscaling.HPAScalingRules, policies ...autoscaling.HPAScalingPolicy) {
	if r.SelectPolicy == nil {
		r.SelectPolicy = ptr.To(autoscaling.MaxChangePolicySelect)
	}
	if r.Policies == nil {
		r.Policies = policies
	}
}

// targets shows the first two metrics, what is and what should be, and how many there are more.
func targets(specs []autoscaling.MetricSpec, now []autoscaling.MetricStatus) string {
	if len(specs) == 0 {
		return "<none>"
	}
	var out []string
	for i := range specs[:min(2, len(specs))] {
		var status autoscaling.MetricStatus
		if i < len(now) {
			status = now[i]
		}
		out = append(out, target(&specs[i], &status))
	}
	text := strings.Join(out, ", ")
	if more := len(specs) - 2; more > 0 {
		return fmt.Sprintf("%s + %d more...", text, more)
	}
	return text
}

func target(m *autoscaling.MetricSpec, s *autoscaling.MetricStatus) string {
	var current *autoscaling.MetricValueStatus
	switch t := m.Type; {
	case t == autoscaling.ExternalMetricSourceType && m.External != nil:
		if s.External != nil {
			current = &s.External.Current
		}
		return valueOrAverage(m.External.Target, current)
	case t == autoscaling.ObjectMetricSourceType && m.Object != nil:
		if s.Object != nil {
			current = &s.Object.Current
		}
		return valueOrAverage(m.Object.Target, current)
	case t == autoscaling.PodsMetricSourceType && m.Pods != nil:
		if s.Pods != nil {
			current = &s.Pods.Current
		}
		return average(current) + "/" + quantity(m.Pods.Target.AverageValue)
	case t == autoscaling.ResourceMetricSourceType && m.Resource != nil:
		if s.Resource != nil {
			current = &s.Resource.Current
		}
		return string(m.Resource.Name) + ": " + utilization(m.Resource.Target, current)
	case t == autoscaling.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		if s.ContainerResource != nil {
			current = &s.ContainerResource.Current
		}
		return string(m.ContainerResource.Name) + ": " + utilization(m.ContainerResource.Target, current)
	}
	return "<unknown type>"
}

const unknown = "<unknown>"

func quantity(q *resource.Quantity) string {
	if q == nil {
		return "<nil>"
	}
	return q.String()
}

func average(current *autoscaling.MetricValueStatus) string {
	if current == nil {
		return unknown
	}
	return quantity(current.AverageValue)
}

func valueOrAverage(t autoscaling.MetricTarget, current *autoscaling.MetricValueStatus) string {
	now := unknown
	if t.AverageValue != nil {
		if current != nil && current.AverageValue != nil {
			now = current.AverageValue.String()
		}
		return fmt.Sprintf("%s/%s (avg)", now, t.AverageValue)
	}
	if current != nil {
		now = quantity(current.Value)
	}
	return now + "/" + quantity(t.Value)
}

func utilization(t autoscaling.MetricTarget, current *autoscaling.MetricValueStatus) string {
	if t.AverageValue != nil {
		return average(current) + "/" + t.AverageValue.String()
	}
	now, want := unknown, "<auto>"
	if current != nil && current.AverageUtilization != nil {
		now = fmt.Sprintf("%d%%", *current.AverageUtilization)
	}
	if t.AverageUtilization != nil {
		want = fmt.Sprintf("%d%%", *t.AverageUtilization)
	}
	return now + "/" + want
}
