package autoscaling

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Metrics of v1 have their numbers side by side where v2 has a target. v1 cannot leave out some of them: they are zero then.

func orZero(q *resource.Quantity) resource.Quantity {
	if q == nil {
		return resource.Quantity{}
	}
	return *q
}

func metricToV1(m *autoscaling.MetricSpec) autoscalingv1.MetricSpec {
	out := autoscalingv1.MetricSpec{Type: autoscalingv1.MetricSourceType(m.Type)}
	if o := m.Object; o != nil {
		out.Object = &autoscalingv1.ObjectMetricSource{Target: autoscalingv1.CrossVersionObjectReference(o.DescribedObject), MetricName: o.Metric.Name,
			TargetValue: orZero(o.Target.Value), Selector: o.Metric.Selector, AverageValue: o.Target.AverageValue}
	}
	if p := m.Pods; p != nil {
		out.Pods = &autoscalingv1.PodsMetricSource{MetricName: p.Metric.Name, TargetAverageValue: orZero(p.Target.AverageValue), Selector: p.Metric.Selector}
	}
	if r := m.Resource; r != nil {
		out.Resource = &autoscalingv1.ResourceMetricSource{Name: r.Name, TargetAverageUtilization: r.Target.AverageUtilization,
			TargetAverageValue: r.Target.AverageValue}
	}
	if c := m.ContainerResource; c != nil {
		out.ContainerResource = &autoscalingv1.ContainerResourceMetricSource{Name: c.Name, Container: c.Container,
			TargetAverageUtilization: c.Target.AverageUtilization, TargetAverageValue: c.Target.AverageValue}
	}
	if e := m.External; e != nil {
		out.External = &autoscalingv1.ExternalMetricSource{MetricName: e.Metric.Name, MetricSelector: e.Metric.Selector,
			TargetValue: e.Target.Value, TargetAverageValue: e.Target.AverageValue}
	}
	return out
}

func metricFromV1(m *autoscalingv1.MetricSpec) autoscaling.MetricSpec {
	out := autoscaling.MetricSpec{Type: autoscaling.MetricSourceType(m.Type)}
	if o := m.Object; o != nil {
		t := autoscaling.MetricTarget{Type: autoscaling.ValueMetricType, Value: &o.TargetValue, AverageValue: o.AverageValue}
		if o.AverageValue != nil {
			t.Type = autoscaling.AverageValueMetricType
			if o.TargetValue.IsZero() {
				t.Value = nil
			}
		}
		out.Object = &autoscaling.ObjectMetricSource{DescribedObject: autoscaling.CrossVersionObjectReference(o.Target), Target: t,
			Metric: autoscaling.MetricIdentifier{Name: o.MetricName, Selector: o.Selector}}
	}
	if p := m.Pods; p != nil {
		out.Pods = &autoscaling.PodsMetricSource{Metric: autoscaling.MetricIdentifier{Name: p.MetricName, Selector: p.Selector},
			Target: autoscaling.MetricTarget{Type: autoscaling.AverageValueMetricType, AverageValue: &p.TargetAverageValue}}
	}
	if r := m.Resource; r != nil {
		out.Resource = &autoscaling.ResourceMetricSource{Name: r.Name, Target: usageFromV1(r.TargetAverageUtilization, r.TargetAverageValue)}
	}
	if c := m.ContainerResource; c != nil {
		out.ContainerResource = &autoscaling.ContainerResourceMetricSource{Name: c.Name, Container: c.Container,
			Target: usageFromV1(c.TargetAverageUtilization, c.TargetAverageValue)}
	}
	if e := m.External; e != nil {
		t := autoscaling.MetricTarget{Type: autoscaling.ValueMetricType, Value: e.TargetValue, AverageValue: e.TargetAverageValue}
		if e.TargetValue == nil {
			t.Type = autoscaling.AverageValueMetricType
		}
		out.External = &autoscaling.ExternalMetricSource{Metric: autoscaling.MetricIdentifier{Name: e.MetricName, Selector: e.MetricSelector}, Target: t}
	}
	return out
}

func usageFromV1(percent *int32, amount *resource.Quantity) autoscaling.MetricTarget {
	t := autoscaling.MetricTarget{Type: autoscaling.UtilizationMetricType, AverageUtilization: percent, AverageValue: amount}
	if percent == nil {
		t.Type = autoscaling.AverageValueMetricType
	}
	return t
}

func statusToV1(m *autoscaling.MetricStatus) autoscalingv1.MetricStatus {
	out := autoscalingv1.MetricStatus{Type: autoscalingv1.MetricSourceType(m.Type)}
	if o := m.Object; o != nil {
		out.Object = &autoscalingv1.ObjectMetricStatus{Target: autoscalingv1.CrossVersionObjectReference(o.DescribedObject), MetricName: o.Metric.Name,
			CurrentValue: orZero(o.Current.Value), Selector: o.Metric.Selector, AverageValue: o.Current.AverageValue}
	}
	if p := m.Pods; p != nil {
		out.Pods = &autoscalingv1.PodsMetricStatus{MetricName: p.Metric.Name, CurrentAverageValue: orZero(p.Current.AverageValue), Selector: p.Metric.Selector}
	}
	if r := m.Resource; r != nil {
		out.Resource = &autoscalingv1.ResourceMetricStatus{Name: r.Name, CurrentAverageUtilization: r.Current.AverageUtilization,
			CurrentAverageValue: orZero(r.Current.AverageValue)}
	}
	if c := m.ContainerResource; c != nil {
		out.ContainerResource = &autoscalingv1.ContainerResourceMetricStatus{Name: c.Name, Container: c.Container,
			CurrentAverageUtilization: c.Current.AverageUtilization, CurrentAverageValue: orZero(c.Current.AverageValue)}
	}
	if e := m.External; e != nil {
		out.External = &autoscalingv1.ExternalMetricStatus{MetricName: e.Metric.Name, MetricSelector: e.Metric.Selector,
			CurrentValue: orZero(e.Current.Value), CurrentAverageValue: e.Current.AverageValue}
	}
	return out
}

func statusFromV1(m *autoscalingv1.MetricStatus) autoscaling.MetricStatus {
	out := autoscaling.MetricStatus{Type: autoscaling.MetricSourceType(m.Type)}
	if o := m.Object; o != nil {
		out.Object = &autoscaling.ObjectMetricStatus{DescribedObject: autoscaling.CrossVersionObjectReference(o.Target),
			Metric:  autoscaling.MetricIdentifier{Name: o.MetricName, Selector: o.Selector},
			Current: autoscaling.MetricValueStatus{Value: &o.CurrentValue, AverageValue: o.AverageValue}}
	}
	if p := m.Pods; p != nil {
		out.Pods = &autoscaling.PodsMetricStatus{Metric: autoscaling.MetricIdentifier{Name: p.MetricName, Selector: p.Selector},
			Current: autoscaling.MetricValueStatus{AverageValue: &p.CurrentAverageValue}}
	}
	if r := m.Resource; r != nil {
		out.Resource = &autoscaling.ResourceMetricStatus{Name: r.Name,
			Current: autoscaling.MetricValueStatus{AverageUtilization: r.CurrentAverageUtilization, AverageValue: &r.CurrentAverageValue}}
	}
	if c := m.ContainerResource; c != nil {
		out.ContainerResource = &autoscaling.ContainerResourceMetricStatus{Name: c.Name, Container: c.Container,
			Current: autoscaling.MetricValueStatus{AverageUtilization: c.CurrentAverageUtilization, AverageValue: &c.CurrentAverageValue}}
	}
	if e := m.External; e != nil {
		out.External = &autoscaling.ExternalMetricStatus{Metric: autoscaling.MetricIdentifier{Name: e.MetricName, Selector: e.MetricSelector},
			Current: autoscaling.MetricValueStatus{Value: &e.CurrentValue, AverageValue: e.CurrentAverageValue}}
	}
	return out
}
