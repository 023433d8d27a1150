package autoscale

import (
	"math"
	"slices"
	"time"

	autoscaling "k8s.io/api/autoscaling/v2"

	"proa.dev/control"
)

// history is what was wished and done lately for one autoscaler. A round gets it and returns another one: it is never written to.
type history struct {
	wishes   []wish // one for each number that was wished
	up, down []step
}

// wish is a number of replicas, before anything held it back, and when it was last the right one.
type wish struct {
	n  int32
	at time.Time
}

// step is a change of so many replicas.
type step struct {
	by int32
	at time.Time
}

// wished is h with a wish of now, without those from before oldest.
func (h history) wished(n int32, now, oldest time.Time) history {
	next := []wish{{n, now}}
	for _, w := range h.wishes {
		if w.n != n && !w.at.Before(oldest) {
			next = append(next, w)
		}
	}
	h.wishes = next
	return h
}

// scaled is h after a change of the replicas.
func (h history) scaled(from, to int32, b *autoscaling.HorizontalPodAutoscalerBehavior, now time.Time) history {
	if b == nil {
		return h // nobody asks
	}
	if to > from {
		h.up = after(h.up, step{to - from, now}, b.ScaleUp)
	} else {
		h.down = after(h.down, step{from - to, now}, b.ScaleDown)
	}
	return h
}

// after is the steps that the rules may still ask for, and one more.
func after(steps []step, s step, rules *autoscaling.HPAScalingRules) []step {
	var longest int32
	if rules != nil {
		for _, p := range rules.Policies {
			longest = max(longest, p.PeriodSeconds)
		}
	}
	oldest := s.at.Add(-seconds(longest))
	var kept []step
	for _, old := range steps {
		if !old.at.Before(oldest) {
			kept = append(kept, old)
		}
	}
	return append(kept, s)
}

// lately is by how much the steps of a period changed the replicas.
func lately(steps []step, period int32, now time.Time) (sum int32) {
	from := now.Add(-seconds(period))
	for _, s := range steps {
		if s.at.After(from) {
			sum += s.by
		}
	}
	return sum
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// verdict is a number of replicas and why it is not another one.
type verdict struct {
	n               int32
	reason, message string
}

const (
	lowered = "recent recommendations were lower than current one, applying the lowest recent recommendation"
	raised  = "recent recommendations were higher than current one, applying the highest recent recommendation"
)

// stabilize holds back a wish that may be a passing one: the replicas move to the nearest number that all wishes of the windows ask
// for. Without behavior there is a window for fewer replicas alone.
func (r *round) stabilize(n int32) verdict {
	if r.hpa.Spec.Behavior == nil {
		oldest := r.now.Add(-r.config.Stabilization)
		out := verdict{n, "ScaleDownStabilized", raised}
		for _, w := range r.history.wishes {
			if !w.at.Before(oldest) {
				out.n = max(out.n, w.n)
			}
		}
		r.history = r.history.wished(n, r.now, oldest)
		return out
	}
	up, down := r.rules()
	upFrom := r.now.Add(-seconds(control.Or(up.StabilizationWindowSeconds, 0)))
	downFrom := r.now.Add(-seconds(control.Or(down.StabilizationWindowSeconds, int32(r.config.Stabilization/time.Second))))
	lowest, highest := n, n
	for _, w := range r.history.wishes {
		if w.at.After(upFrom) {
			lowest = min(lowest, w.n)
		}
		if w.at.After(downFrom) {
			highest = max(highest, w.n)
		}
	}
	oldest := upFrom
	if downFrom.Before(oldest) {
		oldest = downFrom
	}
	r.history = r.history.wished(n, r.now, oldest)
	out := verdict{min(max(r.current, lowest), highest), "ScaleDownStabilized", raised}
	if n >= r.current {
		out.reason, out.message = "ScaleUpStabilized", lowered
	}
	return out
}

// rules are those of the behavior; the API server has filled them in.
func (r *round) rules() (up, down *autoscaling.HPAScalingRules) {
	b := r.hpa.Spec.Behavior
	up, down = b.ScaleUp, b.ScaleDown
	if up == nil {
		up = &autoscaling.HPAScalingRules{}
	}
	if down == nil {
		down = &autoscaling.HPAScalingRules{}
	}
	return up, down
}

// Without behavior, replicas at most double in a round, but may become four at once.
const (
	growth      = 2
	growthFloor = 4
)

const (
	tooFew   = "the desired replica count is less than the minimum replica count"
	tooMany  = "the desired replica count is more than the maximum replica count"
	inRange  = "the desired count is within the acceptable range"
	tooFast  = "the desired replica count is increasing faster than the maximum scale rate"
	tooFast2 = "the desired replica count is decreasing faster than the maximum scale rate"
)

// limit keeps n between the bounds, and its change within the allowed rate.
func (r *round) limit(n int32) verdict {
	highest, lowest := r.hpa.Spec.MaxReplicas, r.least()
	over, under := verdict{highest, "TooManyReplicas", tooMany}, verdict{lowest, "TooFewReplicas", tooFew}
	if r.hpa.Spec.Behavior == nil {
		if top := count(max(growth*float64(r.current), growthFloor)); highest > top {
			over = verdict{top, "ScaleUpLimit", tooFast}
		}
	} else {
		up, down := r.rules()
		if top := max(r.most(up), r.current); highest > top {
			over = verdict{top, "ScaleUpLimit", tooFast}
		}
		if bottom := min(r.fewest(down), r.current); lowest < bottom {
			under = verdict{bottom, "ScaleDownLimit", tooFast2}
		}
		if n == r.current { // which the bounds include
			return verdict{n, "DesiredWithinRange", inRange}
		}
		if n > r.current {
			under.n = math.MinInt32
		} else {
			over.n = math.MaxInt32
		}
	}
	switch {
	case n < under.n:
		return under
	case n > over.n:
		return over
	}
	return verdict{n, "DesiredWithinRange", inRange}
}

// most is up to how many replicas the policies let the target grow now.
func (r *round) most(rules *autoscaling.HPAScalingRules) int32 {
	return r.choose(rules, func(from int32, p autoscaling.HPAScalingPolicy) int32 {
		if p.Type == autoscaling.PodsScalingPolicy {
			return count(float64(from) + float64(p.Value))
		}
		return count(float64(from) * (1 + float64(p.Value)/100))
	}, slices.Max[[]int32], slices.Min[[]int32])
}

// fewest is down to how many replicas the policies let the target shrink now.
func (r *round) fewest(rules *autoscaling.HPAScalingRules) int32 {
	return r.choose(rules, func(from int32, p autoscaling.HPAScalingPolicy) int32 {
		if p.Type == autoscaling.PodsScalingPolicy {
			return from - p.Value
		}
		return int32(float64(from) * (1 - float64(p.Value)/100))
	}, slices.Min[[]int32], slices.Max[[]int32])
}

// choose is what the policies together allow: the one that allows most, or least. Each begins with the replicas at the start of its period.
func (r *round) choose(rules *autoscaling.HPAScalingRules, bound func(from int32, p autoscaling.HPAScalingPolicy) int32, most, least func([]int32) int32) int32 {
	how := control.Or(rules.SelectPolicy, autoscaling.MaxChangePolicySelect)
	if how == autoscaling.DisabledPolicySelect || len(rules.Policies) == 0 {
		return r.current
	}
	var bounds []int32
	for _, p := range rules.Policies {
		from := r.current - lately(r.history.up, p.PeriodSeconds, r.now) + lately(r.history.down, p.PeriodSeconds, r.now)
		bounds = append(bounds, bound(from, p))
	}
	if how == autoscaling.MinChangePolicySelect {
		return least(bounds)
	}
	return most(bounds)
}
