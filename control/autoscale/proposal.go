package autoscale

import (
	"errors"
	"fmt"

	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// problem is why a metric gives no number: in the event and the condition (cause), and as part of the error of all metrics (err).
type problem struct {
	reason     string
	cause, err error
}

// proposal is how many replicas one metric wants, what it is called in messages, and what the status says of it.
func proposal(m *autoscaling.MetricSpec, got reading, t *target, status *autoscaling.MetricStatus) (n int32, name string, p *problem) {
	switch {
	case m.Type == autoscaling.ResourceMetricSourceType && m.Resource != nil:
		s := m.Resource
		n, name, now, err := ofResource(s.Name, "", s.Target, got, t)
		if err != nil {
			return 0, "", &problem{"FailedGetResourceMetric", err, fmt.Errorf("failed to get %s resource metric value: %w", s.Name, err)}
		}
		*status = autoscaling.MetricStatus{Type: m.Type, Resource: &autoscaling.ResourceMetricStatus{Name: s.Name, Current: now}}
		return n, name, nil
	case m.Type == autoscaling.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		s := m.ContainerResource
		n, name, now, err := ofResource(s.Name, s.Container, s.Target, got, t)
		if err != nil {
			return 0, "", &problem{"FailedGetContainerResourceMetric", err, fmt.Errorf("failed to get %s container metric value: %w", s.Container, err)}
		}
		*status = autoscaling.MetricStatus{Type: m.Type, ContainerResource: &autoscaling.ContainerResourceMetricStatus{Name: s.Name, Container: s.Container, Current: now}}
		return n, name, nil
	case m.Type == autoscaling.PodsMetricSourceType && m.Pods != nil:
		return ofPods(m.Pods, got, t, status)
	case m.Type == autoscaling.ObjectMetricSourceType && m.Object != nil:
		return ofObject(m.Object, got, t, status)
	case m.Type == autoscaling.ExternalMetricSourceType && m.External != nil:
		return ofExternal(m.External, got, t, status)
	}
	err := fmt.Errorf("unknown metric source type %q", m.Type)
	return 0, "", &problem{"InvalidMetricSourceType", err, err}
}

func ofResource(name core.ResourceName, container string, want autoscaling.MetricTarget, got reading, t *target) (n int32, called string, now autoscaling.MetricValueStatus, err error) {
	format := resource.DecimalSI
	if name == core.ResourceMemory {
		format = resource.BinarySI
	}
	if want.AverageValue != nil {
		n, each := int32(0), int64(0)
		if err = got.err; err == nil {
			n, each, err = t.average(got.pods, name, want.AverageValue.MilliValue())
		}
		if err != nil {
			return 0, "", now, fmt.Errorf("failed to get %s usage: %w", name, err)
		}
		now.AverageValue = resource.NewMilliQuantity(each, format)
		return n, fmt.Sprintf("%s resource", name), now, nil
	}
	if want.AverageUtilization == nil {
		return 0, "", now, errors.New("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	}
	var percent int32
	var each int64
	if err = got.err; err == nil {
		n, percent, each, err = t.utilization(got.pods, name, container, *want.AverageUtilization)
	}
	if err != nil {
		return 0, "", now, fmt.Errorf("failed to get %s utilization: %w", name, err)
	}
	now.AverageUtilization, now.AverageValue = &percent, resource.NewMilliQuantity(each, format)
	if container != "" {
		return n, fmt.Sprintf("%s container resource utilization (percentage of request)", name), now, nil
	}
	return n, fmt.Sprintf("%s resource utilization (percentage of request)", name), now, nil
}

func ofPods(m *autoscaling.PodsMetricSource, got reading, t *target, status *autoscaling.MetricStatus) (n int32, name string, p *problem) {
	err, each := got.err, int64(0)
	if err == nil && m.Target.AverageValue == nil {
		err = errors.New("invalid pods metric source: no average value target was set")
	}
	if err == nil {
		n, each, err = t.average(got.pods, "", m.Target.AverageValue.MilliValue())
	}
	if err != nil {
		return 0, "", &problem{"FailedGetPodsMetric", err, fmt.Errorf("failed to get pods metric value: %w", err)}
	}
	*status = autoscaling.MetricStatus{Type: autoscaling.PodsMetricSourceType, Pods: &autoscaling.PodsMetricStatus{
		Metric: *m.Metric.DeepCopy(), Current: autoscaling.MetricValueStatus{AverageValue: milli(each)}}}
	return n, "pods metric " + m.Metric.Name, nil
}

func milli(n int64) *resource.Quantity { return resource.NewMilliQuantity(n, resource.DecimalSI) }

func ofObject(m *autoscaling.ObjectMetricSource, got reading, t *target, status *autoscaling.MetricStatus) (n int32, name string, p *problem) {
	const what = "failed to get object metric value"
	now := &autoscaling.ObjectMetricStatus{DescribedObject: m.DescribedObject, Metric: *m.Metric.DeepCopy()}
	err, full := got.err, what+": %w"
	switch want := m.Target; {
	case want.Type == autoscaling.ValueMetricType && want.Value != nil:
		if err == nil {
			n, err = t.whole(got.value, want.Value.MilliValue())
		}
		now.Current.Value, name = milli(got.value), fmt.Sprintf("%s metric %s", m.DescribedObject.Kind, m.Metric.Name)
	case want.Type == autoscaling.AverageValueMetricType && want.AverageValue != nil:
		each := int64(0)
		if err == nil {
			n, each = t.share(got.value, want.AverageValue.MilliValue())
		}
		now.Current.AverageValue, name = milli(each), external(m.Metric)
		full = fmt.Sprintf("%s: failed to get %s object metric: ", what, m.Metric.Name) + "%w"
	default:
		err = errors.New("invalid object metric source: neither a value target nor an average value target was set")
	}
	if err != nil {
		return 0, "", &problem{"FailedGetObjectMetric", err, fmt.Errorf(full, err)}
	}
	*status = autoscaling.MetricStatus{Type: autoscaling.ObjectMetricSourceType, Object: now}
	return n, name, nil
}

// external is what messages call a metric that is no single pod's.
func external(m autoscaling.MetricIdentifier) string {
	return fmt.Sprintf("external metric %s(%+v)", m.Name, m.Selector)
}

func ofExternal(m *autoscaling.ExternalMetricSource, got reading, t *target, status *autoscaling.MetricStatus) (n int32, name string, p *problem) {
	now := &autoscaling.ExternalMetricStatus{Metric: *m.Metric.DeepCopy()}
	what, full, err := m.Metric.Name, "failed to get %s external metric value: %w", got.err
	inner := func(err error) error { return err }
	switch {
	case m.Target.AverageValue != nil:
		each := int64(0)
		if err == nil {
			n, each = t.share(got.value, m.Target.AverageValue.MilliValue())
		}
		now.Current.AverageValue = milli(each)
		inner = func(err error) error { return fmt.Errorf("failed to get %s external metric: %w", what, err) }
	case m.Target.Value != nil:
		if err == nil {
			n, err = t.whole(got.value, m.Target.Value.MilliValue())
		}
		now.Current.Value = milli(got.value)
		inner = func(err error) error { return fmt.Errorf("failed to get external metric %s: %w", what, err) }
	default:
		err = errors.New("invalid external metric source: neither a value target nor an average value target was set")
	}
	if err != nil {
		return 0, "", &problem{"FailedGetExternalMetric", err, fmt.Errorf(full, what, inner(err))}
	}
	*status = autoscaling.MetricStatus{Type: autoscaling.ExternalMetricSourceType, External: now}
	return n, external(m.Metric), nil
}
