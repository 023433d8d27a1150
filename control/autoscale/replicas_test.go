package autoscale

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// crowdOf reads pods as a test writes them, "R 300/1000, P -/1000": a letter, what the pod uses and what it asks for, in thousandths. R is ready for
// an hour, U runs for an hour and was never ready, L was ready and is not any more, S runs for a minute and has just become ready, P is
// pending, F has failed, D is being deleted; "-" is unknown.
func crowdOf(t *testing.T, text string, name core.ResourceName) ([]*core.Pod, map[string]sample) {
	t.Helper()
	var pods []*core.Pod
	samples := map[string]sample{}
	if text == "" {
		return nil, samples
	}
	for i, word := range strings.Split(text, ", ") {
		var state, use, ask string
		if _, err := fmt.Sscanf(strings.Replace(word, "/", " ", 1), "%s %s %s", &state, &use, &ask); err != nil {
			t.Fatalf("%q: %v", word, err)
		}
		p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", i)}, Status: core.PodStatus{Phase: core.PodRunning, StartTime: &metav1.Time{Time: noon.Add(-time.Hour)}}}
		ready := core.PodCondition{Type: core.PodReady, Status: core.ConditionTrue, LastTransitionTime: metav1.Time{Time: noon.Add(-time.Hour)}}
		switch state {
		case "U":
			ready.Status = core.ConditionFalse
		case "L":
			ready.Status, ready.LastTransitionTime.Time = core.ConditionFalse, noon.Add(-time.Minute)
		case "S":
			p.Status.StartTime.Time, ready.LastTransitionTime.Time = noon.Add(-time.Minute), noon.Add(-20*time.Second)
		case "P":
			p.Status.Phase = core.PodPending
		case "F":
			p.Status.Phase = core.PodFailed
		case "D":
			p.DeletionTimestamp = &metav1.Time{Time: noon}
		}
		p.Status.Conditions = []core.PodCondition{ready}
		c := core.Container{Name: "main"}
		if ask != "-" {
			c.Resources.Requests = core.ResourceList{name: resource.MustParse(ask + "m")}
		}
		p.Spec.Containers = []core.Container{c}
		pods = append(pods, p)
		if use != "-" {
			n, err := strconv.ParseInt(use, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			samples[p.Name] = sample{noon.Add(-5 * time.Second), 30 * time.Second, n}
		}
	}
	return pods, samples
}

func targetOf(pods []*core.Pod, spec int32) *target {
	c, err := New(depsForTest(), Config{Metrics: &fakeMetrics{}})
	if err != nil {
		panic(err)
	}
	return &target{pods: pods, spec: spec, status: spec, down: 0.1, up: 0.1, config: c.config, now: noon}
}

func TestUtilization(t *testing.T) {
	for _, tc := range []struct {
		name     string
		spec     int32
		pods     string
		resource core.ResourceName
		target   int32
		want     string // replicas, percent, average; or the error
	}{
		{"three of 300 to five", 3, "R 300/1000, R 500/1000, R 700/1000", "cpu", 30, "5 50% 500"},
		{"down", 5, "R 100/1000, R 300/1000, R 500/1000, R 250/1000, R 250/1000", "cpu", 50, "3 28% 280"},
		{"exact", 3, "R 500/1000, R 500/1000, R 500/1000", "cpu", 50, "3 50% 500"},
		{"within the tolerance above", 3, "R 540/1000, R 540/1000, R 540/1000", "cpu", 50, "3 54% 540"},
		{"within the tolerance below", 3, "R 460/1000, R 460/1000, R 460/1000", "cpu", 50, "3 46% 460"},
		{"missing, more wanted: it uses nothing", 3, "R 950/1000, R 950/1000, R -/1000", "cpu", 50, "4 95% 950"},
		{"missing, fewer wanted: it uses all", 4, "R 200/1000, R 200/1000, R 200/1000, R -/1000", "cpu", 50, "4 20% 200"},
		{"missing, far fewer wanted", 5, "R 100/1000, R 100/1000, R 100/1000, R 100/1000, R -/1000", "cpu", 100, "2 10% 100"},
		{"missing, a target above all", 2, "R 1000/1000, R -/1000", "cpu", 200, "2 100% 1000"},
		{"unready counts as nothing when more are wanted", 3, "R 800/1000, R 800/1000, U 100/1000", "cpu", 40, "4 80% 800"},
		{"pending counts as nothing when more are wanted", 3, "R 1500/1000, P -/1000, P -/1000", "cpu", 50, "3 150% 1500"},
		{"pending does not count when fewer are wanted", 3, "R 200/1000, P -/1000, P -/1000", "cpu", 50, "1 20% 200"},
		{"just begun", 2, "R 900/1000, S 3000/1000", "cpu", 50, "2 90% 900"},
		{"just begun makes no difference for memory", 2, "R 900/1000, S 3000/1000", "memory", 50, "8 195% 1950"},
		{"once ready counts", 2, "R 900/1000, L 900/1000", "cpu", 50, "4 90% 900"},
		{"failed and deleted ones do not count", 2, "R 900/1000, R 900/1000, F 5000/1000, D 5000/1000", "cpu", 50, "4 90% 900"},
		{"missing turns the direction", 2, "R 520/1000, R 600/1000, R -/1000, R -/1000", "cpu", 50, "2 56% 560"},
		{"nobody is known", 2, "U 500/1000, P -/1000", "cpu", 50, errNoSamples.Error()},
		{"nobody is there", 2, "", "cpu", 50, errNoPods.Error()},
		{"no request", 2, "R 100/1000, R 100/-", "cpu", 50, "missing request for cpu in container main of Pod p1"},
		{"requests of nothing", 1, "R 100/0", "cpu", 50, errStrangers.Error()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pods, samples := crowdOf(t, tc.pods, tc.resource)
			n, percent, each, err := targetOf(pods, tc.spec).utilization(samples, tc.resource, "", tc.target)
			got := fmt.Sprintf("%d %d%% %d", n, percent, each)
			if err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestUtilizationOfContainers(t *testing.T) {
	pods, samples := crowdOf(t, "R 300/1000", "cpu")
	always := core.ContainerRestartPolicyAlways
	ask := core.ResourceRequirements{Requests: core.ResourceList{"cpu": resource.MustParse("500m")}}
	pods[0].Spec.InitContainers = []core.Container{{Name: "first", Resources: ask}, {Name: "side", Resources: ask, RestartPolicy: &always}}
	for container, want := range map[string]string{"": "1500", "main": "1000", "side": "500", "first": "container first not found in Pod p0"} {
		got, err := requests(pods, "cpu", container)
		text := fmt.Sprint(got["p0"])
		if err != nil {
			text = err.Error()
		}
		if text != want {
			t.Errorf("container %q asks for %s, want %s", container, text, want)
		}
	}
	pods[0].Spec.Resources = &core.ResourceRequirements{Requests: core.ResourceList{"cpu": resource.MustParse("3")}}
	if got, err := requests(pods, "cpu", ""); err != nil || got["p0"] != 3000 {
		t.Errorf("the pod asks for %d, %v; want 3000", got["p0"], err)
	}
	pods[0].Spec.Resources.Requests = core.ResourceList{"hugepages-2Mi": resource.MustParse("2Mi")}
	if n, _, _, err := targetOf(pods, 1).utilization(samples, "cpu", "main", 10); err != nil || n != 3 {
		t.Errorf("one container: %d, %v; want 3", n, err)
	}
}

func TestAverage(t *testing.T) {
	for _, tc := range []struct {
		name string
		spec int32
		pods string
		want string
	}{
		{"up", 3, "R 20000/0, R 10000/0, R 30000/0", "4 20000"},
		{"readiness does not matter", 3, "R 20000/0, U 10000/0, U 30000/0", "4 20000"},
		{"down", 5, "R 10000/0, R 10000/0, R 10000/0, R 10000/0, R 10000/0", "4 10000"},
		{"missing, fewer wanted: as it should be", 2, "R 5000/0, R -/0", "2 5000"},
		{"missing, more wanted: nothing", 2, "R 50000/0, R -/0", "4 50000"},
		{"pending, more wanted: nothing", 3, "R 50000/0, R 10000/0, P -/0", "4 30000"},
	} {
		pods, samples := crowdOf(t, tc.pods, "x")
		n, each, err := targetOf(pods, tc.spec).average(samples, "", 15000)
		if got := fmt.Sprintf("%d %d", n, each); err != nil || got != tc.want {
			t.Errorf("%s: got %s, %v; want %s", tc.name, got, err, tc.want)
		}
	}
}

func TestValuesOfAllTogether(t *testing.T) {
	pods, _ := crowdOf(t, "R 0/0, R 0/0, U 0/0", "x")
	for _, tc := range []struct {
		spec        int32
		value, want int64
		n           int32
	}{
		{3, 20000, 15000, 3}, // of the two that are ready
		{3, 40000, 15000, 6},
		{3, 15500, 15000, 3},
		{3, 3000, 15000, 1},
		{0, 40000, 15000, 3}, // out of nothing
		{3, math.MaxInt64, 1, math.MaxInt32},
	} {
		if n, err := targetOf(pods, tc.spec).whole(tc.value, tc.want); err != nil || n != tc.n {
			t.Errorf("whole(%d, %d) of %d: %d, %v; want %d", tc.value, tc.want, tc.spec, n, err, tc.n)
		}
	}
	if _, err := targetOf(nil, 3).whole(40000, 15000); err == nil || err.Error() != "unable to calculate ready pods: "+errNoPods.Error() {
		t.Errorf("without pods: %v", err)
	}
	for _, tc := range []struct {
		status      int32
		value, want int64
		n           int32
		each        int64
	}{
		{3, 8600, 2000, 5, 2867}, {3, 6200, 2000, 3, 2067}, {5, 2000, 2000, 1, 400}, {0, 5000, 2000, 3, 5000}, {2, math.MaxInt64, 1, math.MaxInt32, math.MaxInt64},
	} {
		if n, each := targetOf(nil, tc.status).share(tc.value, tc.want); n != tc.n || each != tc.each {
			t.Errorf("share(%d, %d) of %d: %d, %d; want %d, %d", tc.value, tc.want, tc.status, n, each, tc.n, tc.each)
		}
	}
}
