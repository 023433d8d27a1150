package autoscaling

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const scaler = `
metadata: {name: h, namespace: n, annotations: {mine: x}}
spec:
  minReplicas: 1
  maxReplicas: 4
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}
  metrics:
  - {type: Pods, pods: {metric: {name: m, selector: {matchLabels: {a: b}}}, target: {type: AverageValue, averageValue: "10"}}}
  - {type: Object, object: {describedObject: {apiVersion: v1, kind: Service, name: s}, metric: {name: o}, target: {type: Value, value: "5"}}}
  - {type: External, external: {metric: {name: e}, target: {type: AverageValue, averageValue: "3"}}}
  - {type: ContainerResource, containerResource: {name: cpu, container: c, target: {type: Utilization, averageUtilization: 10}}}
  - {type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 1Mi}}}
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
  behavior:
    scaleUp: {stabilizationWindowSeconds: 3, selectPolicy: Max, tolerance: 100m, policies: [{type: Pods, value: 2, periodSeconds: 10}]}
status:
  currentReplicas: 2
  desiredReplicas: 3
  conditions: [{type: AbleToScale, status: "True", reason: r, message: m, lastTransitionTime: "2020-01-01T00:00:00Z"}]
  currentMetrics:
  - {type: Pods, pods: {metric: {name: m}, current: {averageValue: "4"}}}
  - {type: Resource, resource: {name: cpu, current: {averageValue: 100m, averageUtilization: 20}}}
`

// What v1 has no field for travels in annotations and comes back whole.
func TestVersions(t *testing.T) {
	var h autoscaling.HorizontalPodAutoscaler
	if err := yaml.UnmarshalStrict([]byte(scaler), &h); err != nil {
		t.Fatal(err)
	}
	before := h.DeepCopy()
	old, err := toV1(&h)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, &h); d != "" {
		t.Errorf("the stored object has changed: %s", d)
	}
	if n := old.Spec.TargetCPUUtilizationPercentage; n == nil || *n != 50 {
		t.Errorf("got a target of %v percent of the CPU, want 50", n)
	}
	const behavior = `{"ScaleUp":{"StabilizationWindowSeconds":3,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":2,"PeriodSeconds":10}],"Tolerance":"100m"},"ScaleDown":null}`
	if got := old.Annotations[inBehavior]; got != behavior {
		t.Errorf("got behavior %s, want %s", got, behavior)
	}
	got := fromV1(old)
	if d := cmp.Diff(before, got); d != "" {
		t.Errorf("there and back (-want +got): %s", d)
	}
}

// A v1 object may bring anything in its annotations.
func FuzzFromV1(f *testing.F) {
	f.Add(`[{"type":"Pods","pods":{}}]`, `{"ScaleUp":{}}`, `[{}]`)
	f.Add(`[{"type":"Object","object":{"averageValue":"1"}}]`, `null`, `[null]`)
	f.Fuzz(func(t *testing.T, metrics, behavior, statuses string) {
		o := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			inMetrics: metrics, inBehavior: behavior, inStatuses: statuses, "mine": "x"}}}
		h := fromV1(o)
		if len(h.Annotations) != 1 {
			t.Fatalf("annotations %v are left, want mine only", h.Annotations)
		}
		defaultScaler(h)
		validateNew(h)
		HorizontalPodAutoscaler.Row(h, h.CreationTimestamp.Time)
		if _, err := toV1(h); err != nil {
			t.Fatal(err)
		}
	})
}
