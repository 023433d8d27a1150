package autoscale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"proa.dev/client"
	"proa.dev/object"
)

// Metrics knows what is measured: the three APIs of metrics.
type Metrics interface {
	// Pods is what the pods of a namespace that sel selects use: metrics.k8s.io.
	Pods(ctx context.Context, namespace string, sel labels.Selector) ([]*metrics.PodMetrics, error)
	// Custom is what custom.metrics.k8s.io says.
	Custom(ctx context.Context, q Question) ([]Value, error)
	// External is what external.metrics.k8s.io says of the metric of this name, and sel.
	External(ctx context.Context, namespace, metric string, sel labels.Selector) ([]Value, error)
}

// Question asks for one metric of one object, or of many.
type Question struct {
	Resource  schema.GroupResource // of the objects
	Namespace string               // where they are; of a Namespace: itself
	Name      string               // "*": those that Objects selects
	Objects   labels.Selector
	Metric    string
	Labels    labels.Selector // of the metric
}

// Value is one answer. Both custom versions and the external one have these fields.
type Value struct {
	DescribedObject struct{ Name string } `json:"describedObject"`
	Timestamp       metav1.Time           `json:"timestamp"`
	WindowSeconds   *int64                `json:"windowSeconds"`
	Value           resource.Quantity     `json:"value"`
}

// API is Metrics as asked of an API server.
type API struct {
	View client.View   // has the APIServices
	Used client.Client // lists metrics.k8s.io
	// Raw gets what stands at t, which need not be an object.
	Raw func(ctx context.Context, t client.Target, query url.Values) ([]byte, error)
}

// usage is where pods' metrics are.
var usage = client.Resource{Group: metrics.GroupName, Version: "v1beta1", Resource: "pods"}

// Pods implements Metrics.
func (a API) Pods(ctx context.Context, namespace string, sel labels.Selector) ([]*metrics.PodMetrics, error) {
	list, err := a.Used.List(ctx, client.Target{Resource: usage, Key: object.Key{Namespace: namespace}}, metav1.ListOptions{LabelSelector: sel.String()})
	if err != nil {
		return nil, err
	}
	out := make([]*metrics.PodMetrics, 0, len(list.Items))
	for _, o := range list.Items {
		m, ok := o.(*metrics.PodMetrics)
		if !ok {
			return nil, fmt.Errorf("the resource metrics API server answered with a %T", o)
		}
		out = append(out, m)
	}
	return out, nil
}

const customGroup, externalGroup = "custom.metrics.k8s.io", "external.metrics.k8s.io"

// Custom implements Metrics.
func (a API) Custom(ctx context.Context, q Question) ([]Value, error) {
	version, err := a.customVersion()
	if err != nil {
		return nil, err
	}
	t := client.Target{Resource: client.Resource{Group: customGroup, Version: version, Resource: q.Resource.String()},
		Key: object.Key{Namespace: q.Namespace, Name: q.Name}, Sub: q.Metric}
	if q.Resource == (schema.GroupResource{Resource: "namespaces"}) {
		t.Resource.Resource, t.Name, t.Sub = "metrics", q.Metric, ""
	}
	query := url.Values{}
	add(query, "labelSelector", q.Objects)
	add(query, "metricLabelSelector", q.Labels)
	return a.values(ctx, t, query)
}

// customVersion is the version of custom.metrics.k8s.io that somebody serves.
func (a API) customVersion() (string, error) {
	for _, v := range []string{"v1beta2", "v1beta1"} {
		if _, ok := client.Lookup[registration.APIService](a.View, object.Key{Name: v + "." + customGroup}); ok {
			return v, nil
		}
	}
	return "", fmt.Errorf("no custom metrics API (%s) registered", customGroup)
}

// External implements Metrics.
func (a API) External(ctx context.Context, namespace, metric string, sel labels.Selector) ([]Value, error) {
	query := url.Values{}
	add(query, "labelSelector", sel)
	return a.values(ctx, client.Target{Resource: client.Resource{Group: externalGroup, Version: "v1beta1", Resource: metric}, Key: object.Key{Namespace: namespace}}, query)
}

func add(q url.Values, key string, sel labels.Selector) {
	if sel != nil && !sel.Empty() && sel.String() != "" {
		q.Set(key, sel.String())
	}
}

func (a API) values(ctx context.Context, t client.Target, query url.Values) ([]Value, error) {
	for _, part := range []string{t.Resource.Resource, t.Namespace, t.Name, t.Sub} {
		if strings.Contains(part, "/") || part == "." || part == ".." { // names become a path, and we may see everything
			return nil, fmt.Errorf("%q is no part of a path", part)
		}
	}
	data, err := a.Raw(ctx, t, query)
	if err != nil {
		return nil, err
	}
	var list struct{ Items []Value }
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", t.Group, err)
	}
	return list.Items, nil
}

// reading is what was found out about one metric of an autoscaler.
type reading struct {
	pods  map[string]sample // by pod: of resources and of pods' own metrics
	value int64             // of objects and external ones, in thousandths
	err   error
}

// reader asks Metrics for one round.
type reader struct {
	Metrics
	namespace string
	pods      labels.Selector
	resources func(schema.GroupKind) (object.Resource, error)
	used      func() ([]*metrics.PodMetrics, error) // asked once
}

// read is what is measured of a metric.
func (r *reader) read(ctx context.Context, m *autoscaling.MetricSpec) reading {
	switch {
	case m.Type == autoscaling.ResourceMetricSourceType && m.Resource != nil:
		return r.resource(m.Resource.Name, "")
	case m.Type == autoscaling.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		return r.resource(m.ContainerResource.Name, m.ContainerResource.Container)
	case m.Type == autoscaling.PodsMetricSourceType && m.Pods != nil:
		return r.ofPods(ctx, m.Pods.Metric)
	case m.Type == autoscaling.ObjectMetricSourceType && m.Object != nil:
		return r.object(ctx, m.Object)
	case m.Type == autoscaling.ExternalMetricSourceType && m.External != nil:
		return r.external(ctx, m.External.Metric)
	}
	return reading{}
}

// resource is what each pod uses, or one container of each.
func (r *reader) resource(name core.ResourceName, container string) reading {
	all, err := r.used()
	if err != nil {
		return reading{err: fmt.Errorf("unable to get metrics for resource %s: unable to fetch metrics from resource metrics API: %w", name, err)}
	}
	if len(all) == 0 {
		return reading{err: fmt.Errorf("unable to get metrics for resource %s: no metrics returned from resource metrics API", name)}
	}
	out := reading{pods: make(map[string]sample, len(all))}
	for _, m := range all {
		if n, ok := used(m, name, container); ok {
			out.pods[m.Name] = sample{m.Timestamp.Time, m.Window.Duration, n}
		}
	}
	return out
}

// used is the sum of a pod's containers, if all are known.
func used(m *metrics.PodMetrics, name core.ResourceName, container string) (sum int64, ok bool) {
	for i := range m.Containers {
		c := &m.Containers[i]
		if container != "" && c.Name != container {
			continue
		}
		q, known := c.Usage[name]
		if !known {
			return 0, false
		}
		sum, ok = sum+q.MilliValue(), true
	}
	return sum, ok
}

// defaultWindow is the time that a pod's own metric is about where it does not say.
const defaultWindow = time.Minute

func (r *reader) ofPods(ctx context.Context, id autoscaling.MetricIdentifier) reading {
	sel, err := metav1.LabelSelectorAsSelector(id.Selector)
	if err != nil {
		return reading{err: err}
	}
	values, err := r.Custom(ctx, Question{Resource: schema.GroupResource{Resource: "pods"}, Namespace: r.namespace, Name: "*", Objects: r.pods, Metric: id.Name, Labels: sel})
	if err != nil {
		return reading{err: fmt.Errorf("unable to get metric %s: unable to fetch metrics from custom metrics API: %w", id.Name, err)}
	}
	if len(values) == 0 {
		return reading{err: fmt.Errorf("unable to get metric %s: no metrics returned from custom metrics API", id.Name)}
	}
	out := reading{pods: make(map[string]sample, len(values))}
	for i := range values {
		v := &values[i]
		s := sample{v.Timestamp.Time, defaultWindow, v.Value.MilliValue()}
		if v.WindowSeconds != nil {
			s.window = time.Duration(*v.WindowSeconds) * time.Second
		}
		out.pods[v.DescribedObject.Name] = s
	}
	return out
}

func (r *reader) object(ctx context.Context, m *autoscaling.ObjectMetricSource) reading {
	sel, err := metav1.LabelSelectorAsSelector(m.Metric.Selector)
	if err != nil {
		return reading{err: err}
	}
	values, err := r.ask(ctx, m, sel)
	if err != nil {
		on := m.DescribedObject
		return reading{err: fmt.Errorf("unable to get metric %s: unable to fetch metrics from custom metrics API: %w on %s %s/%s", m.Metric.Name, err, on.Kind, r.namespace, on.Name)}
	}
	return reading{value: values[0].Value.MilliValue()}
}

// ask returns exactly one value.
func (r *reader) ask(ctx context.Context, m *autoscaling.ObjectMetricSource, sel labels.Selector) ([]Value, error) {
	gvk := schema.FromAPIVersionAndKind(m.DescribedObject.APIVersion, m.DescribedObject.Kind)
	q := Question{Resource: schema.GroupResource{Resource: "namespaces"}, Namespace: r.namespace, Metric: m.Metric.Name, Labels: sel}
	if gvk.GroupKind() != (schema.GroupKind{Kind: "Namespace"}) {
		found, err := r.resources(gvk.GroupKind())
		if err != nil {
			return nil, fmt.Errorf("unable to map kind %s to resource: %w", gvk.GroupKind(), err)
		}
		q.Resource, q.Name = found.GroupResource(), m.DescribedObject.Name
	}
	values, err := r.Custom(ctx, q)
	if err == nil && len(values) != 1 {
		err = fmt.Errorf("the custom metrics API server returned %d results when we asked for exactly one", len(values))
	}
	return values, err
}

func (r *reader) external(ctx context.Context, id autoscaling.MetricIdentifier) reading {
	sel, err := metav1.LabelSelectorAsSelector(id.Selector)
	if err != nil {
		return reading{err: err}
	}
	values, err := r.External(ctx, r.namespace, id.Name, sel)
	if err != nil {
		err = fmt.Errorf("unable to fetch metrics from external metrics API: %w", err)
	} else if len(values) == 0 {
		err = errors.New("no metrics returned from external metrics API")
	}
	if err != nil {
		return reading{err: fmt.Errorf("unable to get external metric %s/%s/%+v: %w", r.namespace, id.Name, id.Selector, err)}
	}
	var out reading
	for i := range values {
		v := values[i].Value.MilliValue()
		if v > 0 && out.value > math.MaxInt64-v {
			out.value = math.MaxInt64
			break
		}
		out.value += v
	}
	return out
}
