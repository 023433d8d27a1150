package autoscaling

import (
	"encoding/json"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"proa.dev/kinds"
	"proa.dev/object"
)

// v1 is autoscaling/v1, which knows of one target only: the use of the CPU. Everything else travels in annotations, in the words that
// Kubernetes has for it there.
var v1 = kinds.Other{
	Path: "autoscaling/v1/horizontalpodautoscalers",
	New:  func() object.Object { return &autoscalingv1.HorizontalPodAutoscaler{} },
	To: func(hub object.Object) (object.Object, error) {
		return toV1(hub.(*autoscaling.HorizontalPodAutoscaler))
	},
	From: func(o object.Object) (object.Object, error) {
		return fromV1(o.(*autoscalingv1.HorizontalPodAutoscaler)), nil
	},
}

// The annotations. Those about tolerances are of an older form; they are taken away, never read.
const (
	inMetrics       = "autoscaling.alpha.kubernetes.io/metrics"
	inStatuses      = "autoscaling.alpha.kubernetes.io/current-metrics"
	inConditions    = "autoscaling.alpha.kubernetes.io/conditions"
	inBehavior      = "autoscaling.alpha.kubernetes.io/behavior"
	inToleranceUp   = "autoscaling.alpha.kubernetes.io/scale-up-tolerance"
	inToleranceDown = "autoscaling.alpha.kubernetes.io/scale-down-tolerance"
)

var roundTrip = [...]string{inMetrics, inStatuses, inConditions, inBehavior, inToleranceUp, inToleranceDown}

// withoutRoundTrip is m without the annotations; m itself if it has none.
func withoutRoundTrip(m map[string]string) map[string]string {
	out := m
	for _, k := range roundTrip {
		if _, ok := out[k]; ok {
			if len(out) == len(m) {
				out = maps.Clone(m)
			}
			delete(out, k)
		}
	}
	return out
}

func dropRoundTrip(h *autoscaling.HorizontalPodAutoscaler) {
	h.Annotations = withoutRoundTrip(h.Annotations)
}

// toV1 shares what it can with h.
func toV1(h *autoscaling.HorizontalPodAutoscaler) (*autoscalingv1.HorizontalPodAutoscaler, error) {
	s, st := &h.Spec, &h.Status
	out := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: h.ObjectMeta,
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(s.ScaleTargetRef), MinReplicas: s.MinReplicas, MaxReplicas: s.MaxReplicas},
		Status: autoscalingv1.HorizontalPodAutoscalerStatus{ObservedGeneration: st.ObservedGeneration, LastScaleTime: st.LastScaleTime,
			CurrentReplicas: st.CurrentReplicas, DesiredReplicas: st.DesiredReplicas},
	}
	var others []autoscalingv1.MetricSpec
	for i := range s.Metrics {
		m := &s.Metrics[i]
		if !ofCPU(m) {
			others = append(others, metricToV1(m))
		} else if out.Spec.TargetCPUUtilizationPercentage == nil {
			out.Spec.TargetCPUUtilizationPercentage = m.Resource.Target.AverageUtilization
		}
	}
	var statuses []autoscalingv1.MetricStatus
	for i := range st.CurrentMetrics {
		m := &st.CurrentMetrics[i]
		if r := m.Resource; m.Type == autoscaling.ResourceMetricSourceType && r != nil && r.Name == core.ResourceCPU && r.Current.AverageUtilization != nil {
			out.Status.CurrentCPUUtilizationPercentage = r.Current.AverageUtilization
		}
		statuses = append(statuses, statusToV1(m)) // the CPU, too: v1 has no field for its raw value
	}
	var conditions []autoscalingv1.HorizontalPodAutoscalerCondition
	for _, c := range st.Conditions {
		conditions = append(conditions, autoscalingv1.HorizontalPodAutoscalerCondition{Type: autoscalingv1.HorizontalPodAutoscalerConditionType(c.Type),
			Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
	}
	notes := map[string]any{}
	if len(others) > 0 {
		notes[inMetrics] = others
	}
	if len(statuses) > 0 {
		notes[inStatuses] = statuses
	}
	if len(conditions) > 0 {
		notes[inConditions] = conditions
	}
	if s.Behavior != nil {
		notes[inBehavior] = behavior{nakedRules(s.Behavior.ScaleUp), nakedRules(s.Behavior.ScaleDown)}
	}
	out.Annotations = withoutRoundTrip(h.Annotations)
	if len(notes) == 0 {
		return out, nil
	}
	out.Annotations = maps.Clone(out.Annotations)
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	for k, v := range notes {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		out.Annotations[k] = string(text)
	}
	return out, nil
}

func ofCPU(m *autoscaling.MetricSpec) bool {
	return m.Type == autoscaling.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == core.ResourceCPU && m.Resource.Target.AverageUtilization != nil
}

// fromV1 shares what it can with o. An annotation that cannot be read counts as none.
func fromV1(o *autoscalingv1.HorizontalPodAutoscaler) *autoscaling.HorizontalPodAutoscaler {
	s, st := &o.Spec, &o.Status
	out := &autoscaling.HorizontalPodAutoscaler{ObjectMeta: o.ObjectMeta,
		Spec: autoscaling.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscaling.CrossVersionObjectReference(s.ScaleTargetRef), MinReplicas: s.MinReplicas, MaxReplicas: s.MaxReplicas},
		Status: autoscaling.HorizontalPodAutoscalerStatus{ObservedGeneration: st.ObservedGeneration, LastScaleTime: st.LastScaleTime,
			CurrentReplicas: st.CurrentReplicas, DesiredReplicas: st.DesiredReplicas},
	}
	var metrics []autoscalingv1.MetricSpec
	if read(o, inMetrics, &metrics) {
		for i := range metrics {
			out.Spec.Metrics = append(out.Spec.Metrics, metricFromV1(&metrics[i]))
		}
	}
	if n := s.TargetCPUUtilizationPercentage; n != nil {
		out.Spec.Metrics = append(out.Spec.Metrics, cpu(*n))
	}
	var b autoscaling.HorizontalPodAutoscalerBehavior
	if read(o, inBehavior, &b) && b != (autoscaling.HorizontalPodAutoscalerBehavior{}) { // names match whatever their case
		out.Spec.Behavior = &b
	}
	var statuses []autoscalingv1.MetricStatus
	if read(o, inStatuses, &statuses) {
		for i := range statuses {
			out.Status.CurrentMetrics = append(out.Status.CurrentMetrics, statusFromV1(&statuses[i]))
		}
	} else if n := st.CurrentCPUUtilizationPercentage; n != nil {
		out.Status.CurrentMetrics = []autoscaling.MetricStatus{{Type: autoscaling.ResourceMetricSourceType, Resource: &autoscaling.ResourceMetricStatus{
			Name: core.ResourceCPU, Current: autoscaling.MetricValueStatus{AverageUtilization: n}}}}
	}
	var conditions []autoscalingv1.HorizontalPodAutoscalerCondition
	if read(o, inConditions, &conditions) {
		for _, c := range conditions {
			out.Status.Conditions = append(out.Status.Conditions, autoscaling.HorizontalPodAutoscalerCondition{
				Type: autoscaling.HorizontalPodAutoscalerConditionType(c.Type), Status: c.Status,
				LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
		}
	}
	dropRoundTrip(out)
	return out
}

func read(o *autoscalingv1.HorizontalPodAutoscaler, annotation string, into any) bool {
	text, ok := o.Annotations[annotation]
	return ok && json.Unmarshal([]byte(text), into) == nil
}

// behavior, scalingRules and scalingPolicy are those of v2 without names for JSON: so they stand in the annotation.
type behavior struct {
	ScaleUp, ScaleDown *scalingRules
}

type scalingRules struct {
	StabilizationWindowSeconds *int32
	SelectPolicy               *autoscaling.ScalingPolicySelect
	Policies                   []scalingPolicy
	Tolerance                  *resource.Quantity
}

type scalingPolicy struct {
	Type          autoscaling.HPAScalingPolicyType
	Value         int32
	PeriodSeconds int32
}

func nakedRules(r *autoscaling.HPAScalingRules) *scalingRules {
	if r == nil {
		return nil
	}
	out := &scalingRules{StabilizationWindowSeconds: r.StabilizationWindowSeconds, SelectPolicy: r.SelectPolicy, Tolerance: r.Tolerance}
	for _, p := range r.Policies {
		out.Policies = append(out.Policies, scalingPolicy(p))
	}
	return out
}
