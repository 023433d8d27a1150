package autoscale

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	core "k8s.io/api/core/v1"
	resources "k8s.io/component-helpers/resource"

	"proa.dev/control"
)

// target is what is scaled, as a round sees it.
type target struct {
	pods         []*core.Pod // that its selector selects
	spec, status int32       // replicas
	down, up     float64     // tolerances
	config       Config
	now          time.Time
}

// sample is one metric of one pod, in thousandths.
type sample struct {
	at     time.Time     // the end of what it is about
	window time.Duration // its length
	value  int64
}

// within says whether a ratio of what is to what should be is no reason to change anything.
func (t *target) within(ratio float64) bool { return 1-t.down <= ratio && ratio <= 1+t.up }

// count is a number of replicas, rounded up.
func count(f float64) int32 {
	if f = math.Ceil(f); f >= math.MaxInt32 {
		return math.MaxInt32
	}
	return int32(f)
}

var (
	errNoPods    = errors.New("no pods returned by selector while calculating replica count")
	errNoSamples = errors.New("did not receive metrics for targeted pods (pods might be unready)")
	errStrangers = errors.New("no metrics returned matched known pods")
)

// crowd is the pods of a target by what their samples are worth.
type crowd struct {
	values  map[string]int64 // of pods that count; and of pods that nobody knows
	ready   int              // pods that count
	unready []string         // that only begin
	missing []string         // without a sample
}

// sort is t's pods as the samples of one metric show them; resource is empty for metrics that are no resource.
func (t *target) sort(samples map[string]sample, resource core.ResourceName) (crowd, error) {
	c := crowd{values: map[string]int64{}}
	if len(t.pods) == 0 {
		return c, errNoPods
	}
	for name, s := range samples {
		c.values[name] = s.value
	}
	for _, p := range t.pods {
		s, measured := samples[p.Name]
		switch {
		case p.DeletionTimestamp != nil || p.Status.Phase == core.PodFailed:
			delete(c.values, p.Name)
		case p.Status.Phase == core.PodPending, measured && resource == core.ResourceCPU && t.begins(p, s):
			c.unready = append(c.unready, p.Name)
			delete(c.values, p.Name)
		case !measured:
			c.missing = append(c.missing, p.Name)
		default:
			c.ready++
		}
	}
	if len(c.values) == 0 {
		return c, errNoSamples
	}
	return c, nil
}

// begins says whether a pod's use of the CPU is still that of its start, which says nothing of its load.
func (t *target) begins(p *core.Pod, s sample) bool {
	ready := control.Condition(p, core.PodReady)
	if ready == nil || p.Status.StartTime == nil {
		return true
	}
	since := ready.LastTransitionTime.Time
	if p.Status.StartTime.Add(t.config.CPUInitialization).After(t.now) {
		return ready.Status == core.ConditionFalse || s.at.Before(since.Add(s.window))
	}
	return ready.Status == core.ConditionFalse && p.Status.StartTime.Add(t.config.ReadinessDelay).After(since) // it never was ready
}

// settle is how many replicas there should be. ratio is what is to what should be, of values by pod; full is the value of a pod without
// a sample where fewer replicas would be the answer.
func (t *target) settle(c crowd, ratio func(map[string]int64) (float64, error), full func(pod string) int64) (int32, error) {
	first, err := ratio(c.values)
	if err != nil {
		return 0, err
	}
	withUnready := len(c.unready) > 0 && first > 1
	if !withUnready && len(c.missing) == 0 {
		if t.within(first) {
			return t.spec, nil
		}
		return count(first * float64(c.ready)), nil
	}
	values := maps.Clone(c.values)
	for _, p := range c.missing {
		if first < 1 {
			values[p] = full(p)
		} else if first > 1 {
			values[p] = 0
		}
	}
	if withUnready {
		for _, p := range c.unready {
			values[p] = 0
		}
	}
	second, err := ratio(values)
	if err != nil {
		return 0, err
	}
	if t.within(second) || first < 1 && second > 1 || first > 1 && second < 1 {
		return t.spec, nil
	}
	n := count(second * float64(len(values)))
	if second < 1 && n > t.spec || second > 1 && n < t.spec {
		return t.spec, nil
	}
	return n, nil
}

// utilization is how many replicas use want percent of what they ask for; and the percentage and the use of a pod as they are now.
func (t *target) utilization(samples map[string]sample, resource core.ResourceName, container string, want int32) (n, percent int32, each int64, err error) {
	c, err := t.sort(samples, resource)
	if err != nil {
		return 0, 0, 0, err
	}
	asked, err := requests(t.pods, resource, container)
	if err != nil {
		return 0, 0, 0, err
	}
	use := func(values map[string]int64) (percent int32, each int64, err error) {
		var used, all, pods int64
		for name, v := range values {
			if request, ok := asked[name]; ok {
				used, all, pods = used+v, all+request, pods+1
			}
		}
		if all == 0 {
			return 0, 0, errStrangers
		}
		return int32(min(used*100/all, math.MaxInt32)), used / pods, nil
	}
	if percent, each, err = use(c.values); err != nil {
		return 0, 0, 0, err
	}
	n, err = t.settle(c, func(values map[string]int64) (float64, error) {
		is, _, err := use(values)
		return float64(is) / float64(want), err
	}, func(pod string) int64 { return asked[pod] * int64(max(100, want)) / 100 })
	return n, percent, each, err
}

// average is how many replicas have want each; and what they have now.
func (t *target) average(samples map[string]sample, resource core.ResourceName, want int64) (n int32, each int64, err error) {
	c, err := t.sort(samples, resource)
	if err != nil {
		return 0, 0, err
	}
	mean := func(values map[string]int64) int64 {
		var sum int64
		for _, v := range values {
			sum += v
		}
		return sum / int64(len(values))
	}
	n, err = t.settle(c, func(values map[string]int64) (float64, error) { return float64(mean(values)) / float64(want), nil },
		func(string) int64 { return want })
	return n, mean(c.values), err
}

// whole is how many replicas there should be where a value that is theirs together should be want.
func (t *target) whole(value, want int64) (int32, error) {
	ratio := float64(value) / float64(want)
	if t.spec == 0 {
		return count(ratio), nil
	}
	if t.within(ratio) {
		return t.spec, nil
	}
	if len(t.pods) == 0 {
		return 0, fmt.Errorf("unable to calculate ready pods: %w", errNoPods)
	}
	ready := 0
	for _, p := range t.pods {
		if p.Status.Phase == core.PodRunning && control.Ready(p) {
			ready++
		}
	}
	return count(ratio * float64(ready)), nil
}

// share is how many replicas there should be where each should have want of a value that is theirs together; and what each has now.
func (t *target) share(value, want int64) (n int32, each int64) {
	n = t.status
	if ratio := float64(value) / (float64(want) * float64(t.status)); !t.within(ratio) {
		n = count(float64(value) / float64(want))
	}
	if t.status == 0 || value == math.MaxInt64 {
		return n, value
	}
	return n, int64(math.Ceil(float64(value) / float64(t.status)))
}

// requests is what each pod asks for, in thousandths: the container of this name, or else all that run together.
func requests(pods []*core.Pod, resource core.ResourceName, container string) (map[string]int64, error) {
	out := make(map[string]int64, len(pods))
	for _, p := range pods {
		n, err := request(p, resource, container)
		if err != nil {
			return nil, err
		}
		out[p.Name] = n
	}
	return out, nil
}

func request(p *core.Pod, resource core.ResourceName, container string) (int64, error) {
	if container == "" && resources.IsPodLevelRequestsSet(p) {
		q, ok := resources.PodRequests(p, resources.PodResourcesOptions{})[resource]
		if !ok {
			return 0, fmt.Errorf("missing pod-level request for %s in Pod %s", resource, p.Name)
		}
		return q.MilliValue(), nil
	}
	var sum int64
	found := false
	add := func(c *core.Container) error {
		if container != "" && c.Name != container || found {
			return nil
		}
		q, ok := c.Resources.Requests[resource]
		if !ok {
			return fmt.Errorf("missing request for %s in container %s of Pod %s", resource, c.Name, p.Name)
		}
		sum += q.MilliValue()
		found = container != ""
		return nil
	}
	for i := range p.Spec.Containers {
		if err := add(&p.Spec.Containers[i]); err != nil {
			return 0, err
		}
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if control.Or(c.RestartPolicy, "") != core.ContainerRestartPolicyAlways {
			continue
		}
		if err := add(c); err != nil {
			return 0, err
		}
	}
	if container != "" && !found {
		return 0, fmt.Errorf("container %s not found in Pod %s", container, p.Name)
	}
	return sum, nil
}
