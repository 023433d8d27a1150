package autoscale

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
)

func depsForTest() control.Deps { return control.Deps{} }

func scaler(least, most int32, specs ...autoscaling.MetricSpec) *autoscaling.HorizontalPodAutoscaler {
	return &autoscaling.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
		Spec: autoscaling.HorizontalPodAutoscalerSpec{MinReplicas: &least, MaxReplicas: most, Metrics: specs,
			ScaleTargetRef: autoscaling.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}},
	}
}

func cpuSpec(percent int32) autoscaling.MetricSpec {
	return autoscaling.MetricSpec{Type: autoscaling.ResourceMetricSourceType, Resource: &autoscaling.ResourceMetricSource{Name: core.ResourceCPU,
		Target: autoscaling.MetricTarget{Type: autoscaling.UtilizationMetricType, AverageUtilization: &percent}}}
}

func externalSpec(value string) autoscaling.MetricSpec {
	q := resource.MustParse(value)
	return autoscaling.MetricSpec{Type: autoscaling.ExternalMetricSourceType, External: &autoscaling.ExternalMetricSource{
		Metric: autoscaling.MetricIdentifier{Name: "qps"}, Target: autoscaling.MetricTarget{Type: autoscaling.ValueMetricType, Value: &q}}}
}

// show is what came of a round.
func (r *round) show() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%d -> %d\n", r.status.CurrentReplicas, r.status.DesiredReplicas)
	for _, c := range r.status.Conditions {
		fmt.Fprintf(&out, "%s %s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	for _, n := range r.notes {
		fmt.Fprintf(&out, "event %s %s: %s\n", n.kind, n.reason, n.message)
	}
	return out.String()
}

func roundOf(hpa *autoscaling.HorizontalPodAutoscaler, h history, now time.Time) *round {
	c, err := New(depsForTest(), Config{Metrics: &fakeMetrics{}})
	if err != nil {
		panic(err)
	}
	return newRound(c.config, hpa, h, now)
}

// play makes a round with what was measured.
func play(r *round, replicas int32, t *target, readings ...reading) {
	if r.seen(replicas) {
		t.spec, t.status, t.config, t.now = replicas, replicas, r.config, r.now
		t.down, t.up = r.tolerances()
		if !r.weigh(readings, t) {
			return
		}
	}
	if r.wanted == r.current {
		r.finish(r.current)
		return
	}
	r.rescaled(nil)
}

func TestRounds(t *testing.T) {
	got, ok := "AbleToScale True SucceededGetScale: the HPA controller was able to get the target's current scale\n", "ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from "
	const cpu = "cpu resource utilization (percentage of request)"
	for _, tc := range []struct {
		name     string
		hpa      *autoscaling.HorizontalPodAutoscaler
		replicas int32
		pods     string
		readings func([]reading) []reading
		want     string
	}{
		{"up", scaler(1, 10, cpuSpec(30)), 3, "R 300/1000, R 500/1000, R 700/1000", nil,
			"3 -> 5\nAbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 5\n" + ok + cpu + "\n" +
				"ScalingLimited False DesiredWithinRange: the desired count is within the acceptable range\nevent Normal SuccessfulRescale: New size: 5; reason: " + cpu + " above target\n"},
		{"up to the most", scaler(1, 4, cpuSpec(30)), 3, "R 300/1000, R 500/1000, R 700/1000", nil,
			"3 -> 4\nAbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 4\n" + ok + cpu + "\n" +
				"ScalingLimited True TooManyReplicas: the desired replica count is more than the maximum replica count\nevent Normal SuccessfulRescale: New size: 4; reason: " + cpu + " above target\n"},
		{"up too fast", scaler(1, 100, cpuSpec(10)), 3, "R 900/1000, R 900/1000, R 900/1000", nil,
			"3 -> 6\nAbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 6\n" + ok + cpu + "\n" +
				"ScalingLimited True ScaleUpLimit: the desired replica count is increasing faster than the maximum scale rate\nevent Normal SuccessfulRescale: New size: 6; reason: " + cpu + " above target\n"},
		{"steady", scaler(1, 10, cpuSpec(50)), 2, "R 500/1000, R 500/1000", nil,
			"2 -> 2\nAbleToScale True ReadyForNewScale: recommended size matches current size\n" + ok + cpu + "\nScalingLimited False DesiredWithinRange: the desired count is within the acceptable range\n"},
		{"down, not yet", scaler(1, 10, cpuSpec(50)), 3, "R 10/1000, R 10/1000, R 10/1000", nil,
			"3 -> 3\nAbleToScale True ScaleDownStabilized: recent recommendations were higher than current one, applying the highest recent recommendation\n" + ok + cpu + "\nScalingLimited False DesiredWithinRange: the desired count is within the acceptable range\n"},
		{"off", scaler(1, 10, cpuSpec(50)), 0, "", nil, "0 -> 0\n" + got + "ScalingActive False ScalingDisabled: scaling is disabled since the replica count of the target is zero\n"},
		{"below the bounds", scaler(3, 10, cpuSpec(50)), 2, "", nil,
			"2 -> 3\nAbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 3\nevent Normal SuccessfulRescale: New size: 3; reason: Current number of replicas below Spec.MinReplicas\n"},
		{"above the bounds", scaler(1, 3, cpuSpec(50)), 5, "", nil,
			"5 -> 3\nAbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 3\nevent Normal SuccessfulRescale: New size: 3; reason: Current number of replicas above Spec.MaxReplicas\n"},
		{"nothing is known", scaler(1, 10, cpuSpec(50)), 2, "R 1/1000", func([]reading) []reading {
			return []reading{{err: errors.New("unable to get metrics for resource cpu: x")}}
		},
			"2 -> 0\n" + got + "ScalingActive False FailedGetResourceMetric: the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: x\n" +
				"event Warning FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for resource cpu: x\n" +
				"event Warning FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: x\n"},
		{"one is not known, the other wants more", scaler(1, 10, externalSpec("5"), cpuSpec(30)), 3, "R 900/1000, R 900/1000, R 900/1000",
			func(r []reading) []reading { return []reading{{err: errors.New("y")}, r[0]} },
			"3 -> 6\nAbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 6\n" + ok + cpu + "\n" +
				"ScalingLimited True ScaleUpLimit: the desired replica count is increasing faster than the maximum scale rate\nevent Warning FailedGetExternalMetric: y\nevent Normal SuccessfulRescale: New size: 6; reason: " + cpu + " above target\n"},
		{"one is not known, the other wants less", scaler(1, 10, cpuSpec(50), externalSpec("5")), 3, "R 100/1000, R 100/1000, R 100/1000",
			func(r []reading) []reading { return []reading{r[0], {err: errors.New("y")}} },
			"3 -> 0\n" + got + "ScalingActive False FailedGetExternalMetric: the HPA was unable to compute the replica count: y\nevent Warning FailedGetExternalMetric: y\n" +
				"event Warning FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 2), first error is: failed to get qps external metric value: failed to get external metric qps: y\n"},
		{"the most of all", scaler(1, 10, cpuSpec(50), externalSpec("5")), 3, "R 100/1000, R 100/1000, R 100/1000",
			func(r []reading) []reading { return []reading{r[0], {value: 8000}} },
			"3 -> 5\nAbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 5\n" + ok + "external metric qps(nil)\n" +
				"ScalingLimited False DesiredWithinRange: the desired count is within the acceptable range\nevent Normal SuccessfulRescale: New size: 5; reason: external metric qps(nil) above target\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pods, samples := crowdOf(t, tc.pods, "cpu")
			readings := []reading{{pods: samples}}
			if tc.readings != nil {
				readings = tc.readings(readings)
			}
			r := roundOf(tc.hpa, history{}, noon)
			play(r, tc.replicas, &target{pods: pods}, readings...)
			if got := r.show(); got != tc.want {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
			if tc.hpa.Status.Conditions != nil {
				t.Error("the autoscaler was changed")
			}
		})
	}
}

func TestEndsWithoutNumbers(t *testing.T) {
	h := scaler(1, 10, cpuSpec(50))
	h.Status.DesiredReplicas, h.Status.Conditions = 4, []autoscaling.HorizontalPodAutoscalerCondition{{Type: autoscaling.AbleToScale, Status: core.ConditionTrue, LastTransitionTime: metav1.Time{Time: noon.Add(-time.Hour)}}}
	r := roundOf(h, history{}, noon)
	r.unseen(errors.New(`deployments.apps "web" not found`))
	want := "0 -> 4\nAbleToScale False FailedGetScale: the HPA controller was unable to get the target's current scale: deployments.apps \"web\" not found\nevent Warning FailedGetScale: deployments.apps \"web\" not found\n"
	if got := r.show(); got != want || !r.status.Conditions[0].LastTransitionTime.Time.Equal(noon) {
		t.Errorf("no scale: got\n%s%v, want\n%s", got, r.status.Conditions, want)
	}
	r = roundOf(h, history{}, noon)
	r.seen(3)
	r.wanted, r.reason = 5, "why"
	r.rescaled(errors.New("no"))
	want = "3 -> 4\nAbleToScale False FailedUpdateScale: the HPA controller was unable to update the target scale: no\nevent Warning FailedRescale: New size: 5; reason: why; error: no\n"
	if got := r.show(); got != want || r.status.LastScaleTime != nil {
		t.Errorf("no rescale: got\n%swant\n%s", got, want)
	}
	r = roundOf(h, history{}, noon)
	r.seen(3)
	r.inactive("SelectorRequired", "InvalidSelector", "selector is required", "the HPA target's scale is missing a selector")
	want = "3 -> 4\nAbleToScale True SucceededGetScale: the HPA controller was able to get the target's current scale\n" +
		"ScalingActive False InvalidSelector: the HPA target's scale is missing a selector\nevent Warning SelectorRequired: selector is required\nevent Warning FailedComputeMetricsReplicas: selector is required\n"
	if got := r.show(); got != want || !r.status.Conditions[0].LastTransitionTime.Time.Equal(noon.Add(-time.Hour)) {
		t.Errorf("no selector: got\n%swant\n%s", got, want)
	}
}

func rules(window int32, how autoscaling.ScalingPolicySelect, policies ...autoscaling.HPAScalingPolicy) *autoscaling.HPAScalingRules {
	return &autoscaling.HPAScalingRules{StabilizationWindowSeconds: &window, SelectPolicy: &how, Policies: policies}
}

func pods(n, period int32) autoscaling.HPAScalingPolicy {
	return autoscaling.HPAScalingPolicy{Type: autoscaling.PodsScalingPolicy, Value: n, PeriodSeconds: period}
}

func percent(n, period int32) autoscaling.HPAScalingPolicy {
	return autoscaling.HPAScalingPolicy{Type: autoscaling.PercentScalingPolicy, Value: n, PeriodSeconds: period}
}

// A story is a row of wishes, one every ten seconds, and how many replicas there are after each.
func TestBehavior(t *testing.T) {
	const most, least, off = autoscaling.MaxChangePolicySelect, autoscaling.MinChangePolicySelect, autoscaling.DisabledPolicySelect
	for _, tc := range []struct {
		name     string
		up, down *autoscaling.HPAScalingRules
		from     int32
		wishes   []int32
		want     []int32
		reason   string // of ScalingLimited, in the end
	}{
		{"as it is without", nil, nil, 2, []int32{100, 100, 100, 3, 3}, []int32{4, 8, 16, 32, 64}, "ScaleUpLimit"},
		{"four pods a minute", rules(0, most, pods(4, 60)), rules(300, most, percent(100, 15)), 2, []int32{50, 50, 50, 50, 50, 50, 50, 50}, []int32{6, 6, 6, 6, 6, 6, 10, 10}, "ScaleUpLimit"},
		{"four pods or half of them, whatever is more", rules(0, most, pods(4, 15), percent(50, 15)), rules(300, most, percent(100, 15)), 4, []int32{50, 50, 50, 50}, []int32{8, 8, 12, 12}, "ScaleUpLimit"},
		{"whatever is less", rules(0, least, pods(4, 15), percent(50, 15)), rules(300, most, percent(100, 15)), 4, []int32{50, 50, 50, 50}, []int32{6, 6, 9, 9}, "ScaleUpLimit"},
		{"never up", rules(0, off, pods(4, 15)), rules(0, most, percent(100, 15)), 4, []int32{50, 3}, []int32{4, 3}, "DesiredWithinRange"},
		{"never down", rules(0, most, pods(4, 15)), rules(0, off, percent(100, 15)), 4, []int32{2, 5, 1}, []int32{4, 5, 5}, "ScaleDownLimit"},
		{"one pod a minute down", rules(0, most, pods(4, 15)), rules(0, most, pods(1, 60)), 9, []int32{1, 1, 1, 1, 1, 1, 1, 1}, []int32{8, 8, 8, 8, 8, 8, 7, 7}, "ScaleDownLimit"},
		{"a tenth down", rules(0, most, pods(4, 15)), rules(0, most, percent(10, 10)), 100, []int32{1, 1, 1}, []int32{90, 81, 72}, "ScaleDownLimit"},
		{"down after thirty seconds", rules(0, most, pods(4, 15)), rules(30, most, percent(100, 15)), 9, []int32{2, 3, 2, 2, 2, 2}, []int32{9, 9, 9, 3, 2, 2}, "DesiredWithinRange"},
		{"up after thirty seconds", rules(30, most, percent(1000, 15)), rules(0, most, percent(100, 15)), 2, []int32{9, 8, 9, 9, 9, 9}, []int32{2, 2, 2, 8, 9, 9}, "DesiredWithinRange"},
		{"to the bounds", rules(0, most, percent(1000, 15)), rules(0, most, percent(100, 15)), 50, []int32{200, 0}, []int32{100, 1}, "TooFewReplicas"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hpa := scaler(1, 100)
			if tc.up != nil {
				hpa.Spec.Behavior = &autoscaling.HorizontalPodAutoscalerBehavior{ScaleUp: tc.up, ScaleDown: tc.down}
			}
			h, now, at := history{}, noon, tc.from
			var got []int32
			var reason string
			for _, w := range tc.wishes {
				r := roundOf(hpa, h, now)
				r.seen(at)
				r.wish(w, "m")
				if r.wanted != at {
					r.rescaled(nil)
				}
				at, h, now = r.wanted, r.history, now.Add(10*time.Second)
				got, reason = append(got, at), r.condition(autoscaling.ScalingLimited).Reason
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) || reason != tc.reason {
				t.Errorf("got %v %s, want %v %s", got, reason, tc.want, tc.reason)
			}
		})
	}
}

func TestTolerances(t *testing.T) {
	h := scaler(1, 100)
	up, down := rules(0, autoscaling.MaxChangePolicySelect), rules(0, autoscaling.MaxChangePolicySelect)
	q := resource.MustParse("250m")
	up.Tolerance = &q
	h.Spec.Behavior = &autoscaling.HorizontalPodAutoscalerBehavior{ScaleUp: up, ScaleDown: down}
	if d, u := roundOf(h, history{}, noon).tolerances(); d != 0.1 || u != 0.25 {
		t.Errorf("got %v and %v, want 0.1 and 0.25", d, u)
	}
}

// What is remembered does not grow with the number of rounds.
func TestHistoryIsBounded(t *testing.T) {
	hpa := scaler(1, 100)
	hpa.Spec.Behavior = &autoscaling.HorizontalPodAutoscalerBehavior{ScaleUp: rules(3600, autoscaling.MaxChangePolicySelect, pods(100, 60)), ScaleDown: rules(3600, autoscaling.MaxChangePolicySelect, pods(100, 60))}
	h, now := history{}, noon
	for i := range 10000 {
		r := roundOf(hpa, h, now)
		r.seen(int32(1 + i%2))
		r.wish(int32(10+i%7), "m")
		r.wanted = int32(2 - i%2)
		r.rescaled(nil)
		h, now = r.history, now.Add(time.Second)
	}
	if len(h.wishes) > 9 || len(h.up)+len(h.down) > 2*62 {
		t.Errorf("%d wishes, %d steps up, %d down", len(h.wishes), len(h.up), len(h.down))
	}
}
