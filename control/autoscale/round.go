package autoscale

import (
	"errors"
	"fmt"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
)

// round is one look at one autoscaler: what goes in, and what it comes to. It reads and writes nothing else.
type round struct {
	config Config
	hpa    *autoscaling.HorizontalPodAutoscaler // frozen
	now    time.Time
	// history, status and notes change as the round goes on.
	history history
	status  autoscaling.HorizontalPodAutoscalerStatus
	notes   []note

	current, wanted int32
	reason          string // of another number
	problem         error  // some metrics could not be had
}

// note is an event about the autoscaler.
type note struct{ kind, reason, message string }

func newRound(c Config, hpa *autoscaling.HorizontalPodAutoscaler, h history, now time.Time) *round {
	return &round{config: c, hpa: hpa, now: now, history: h, status: *hpa.Status.DeepCopy()}
}

func (r *round) note(kind, reason, message string) {
	r.notes = append(r.notes, note{kind, reason, message})
}

// set sets a condition.
func (r *round) set(t autoscaling.HorizontalPodAutoscalerConditionType, ok bool, reason, message string) {
	status := core.ConditionFalse
	if ok {
		status = core.ConditionTrue
	}
	c := r.condition(t)
	if c.Status != status {
		c.Status, c.LastTransitionTime = status, metav1.NewTime(r.now)
	}
	c.Reason, c.Message = reason, message
}

// condition is the one of this type, made if there is none.
func (r *round) condition(t autoscaling.HorizontalPodAutoscalerConditionType) *autoscaling.HorizontalPodAutoscalerCondition {
	for i := range r.status.Conditions {
		if r.status.Conditions[i].Type == t {
			return &r.status.Conditions[i]
		}
	}
	r.status.Conditions = append(r.status.Conditions, autoscaling.HorizontalPodAutoscalerCondition{Type: t})
	return &r.status.Conditions[len(r.status.Conditions)-1]
}

// unseen ends a round without a Scale.
func (r *round) unseen(err error) {
	r.note(core.EventTypeWarning, "FailedGetScale", err.Error())
	r.set(autoscaling.AbleToScale, false, "FailedGetScale", fmt.Sprintf("the HPA controller was unable to get the target's current scale: %v", err))
}

// least is the lowest number of replicas.
func (r *round) least() int32 { return control.Or(r.hpa.Spec.MinReplicas, 1) }

// seen takes the number of replicas there are, and says whether metrics are needed to know how many there should be.
func (r *round) seen(replicas int32) (measure bool) {
	r.set(autoscaling.AbleToScale, true, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	r.current, r.wanted = replicas, replicas
	if len(r.history.wishes) == 0 {
		r.history = r.history.wished(replicas, r.now, r.now)
	}
	switch low := r.least(); {
	case replicas == 0:
		r.set(autoscaling.ScalingActive, false, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
	case replicas > r.hpa.Spec.MaxReplicas:
		r.wanted, r.reason = r.hpa.Spec.MaxReplicas, "Current number of replicas above Spec.MaxReplicas"
	case replicas < low:
		r.wanted, r.reason = low, "Current number of replicas below Spec.MinReplicas"
	default:
		return true
	}
	r.status.CurrentMetrics = nil
	return false
}

// blind ends a round in which nothing could be worked out.
func (r *round) blind(err error) {
	r.finish(r.status.DesiredReplicas)
	r.note(core.EventTypeWarning, "FailedComputeMetricsReplicas", err.Error())
	r.problem = fmt.Errorf("compute the desired number of replicas: %w", err)
}

// inactive is blind because of the selector.
func (r *round) inactive(event, reason, message, condition string) {
	r.note(core.EventTypeWarning, event, message)
	r.set(autoscaling.ScalingActive, false, reason, condition)
	r.status.CurrentMetrics = nil
	r.blind(errors.New(message))
}

// weigh works out the number of replicas from what was measured, one reading for each metric; false: it could not.
func (r *round) weigh(readings []reading, t *target) bool {
	specs := r.hpa.Spec.Metrics
	r.status.CurrentMetrics = make([]autoscaling.MetricStatus, len(specs))
	var most int32
	var of string
	var first *problem
	failed := 0
	for i := range specs {
		n, name, p := proposal(&specs[i], readings[i], t, &r.status.CurrentMetrics[i])
		if p != nil {
			r.note(core.EventTypeWarning, p.reason, p.cause.Error())
			if failed++; first == nil {
				first = p
			}
			continue
		}
		if most == 0 || n > most {
			most, of = n, name
		}
	}
	if first != nil {
		r.problem = fmt.Errorf("invalid metrics (%d invalid out of %d), first error is: %w", failed, len(specs), first.err)
		if failed >= len(specs) || most < r.current {
			r.set(autoscaling.ScalingActive, false, first.reason, fmt.Sprintf("the HPA was unable to compute the replica count: %v", first.cause))
			r.blind(r.problem)
			return false
		}
	}
	r.set(autoscaling.ScalingActive, true, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+of)
	r.wish(most, of)
	return true
}

// wish holds a wish back as far as the rules say.
func (r *round) wish(n int32, metric string) {
	switch {
	case n > r.current:
		r.reason = metric + " above target"
	case n < r.current:
		r.reason = "All metrics below target"
	}
	steady := r.stabilize(n)
	if steady.n == n {
		r.set(autoscaling.AbleToScale, true, "ReadyForNewScale", "recommended size matches current size")
	} else {
		r.set(autoscaling.AbleToScale, true, steady.reason, steady.message)
	}
	out := r.limit(steady.n)
	r.set(autoscaling.ScalingLimited, out.n != steady.n, out.reason, out.message)
	r.wanted = out.n
}

// rescaled ends a round in which the Scale was written, or could not be.
func (r *round) rescaled(err error) {
	if err != nil {
		r.note(core.EventTypeWarning, "FailedRescale", fmt.Sprintf("New size: %d; reason: %s; error: %v", r.wanted, r.reason, err))
		r.set(autoscaling.AbleToScale, false, "FailedUpdateScale", fmt.Sprintf("the HPA controller was unable to update the target scale: %v", err))
		r.finish(r.status.DesiredReplicas)
		r.problem = fmt.Errorf("rescale: %w", err)
		return
	}
	r.set(autoscaling.AbleToScale, true, "SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", r.wanted))
	r.note(core.EventTypeNormal, "SuccessfulRescale", fmt.Sprintf("New size: %d; reason: %s", r.wanted, r.reason))
	r.history = r.history.scaled(r.current, r.wanted, r.hpa.Spec.Behavior, r.now)
	r.status.LastScaleTime = &metav1.Time{Time: r.now}
	r.finish(r.wanted)
}

// finish fills in the numbers of the status.
func (r *round) finish(desired int32) {
	r.status = autoscaling.HorizontalPodAutoscalerStatus{LastScaleTime: r.status.LastScaleTime, CurrentReplicas: r.current, DesiredReplicas: desired,
		CurrentMetrics: r.status.CurrentMetrics, Conditions: r.status.Conditions}
}

// tolerances are those of the autoscaler, or the usual one.
func (r *round) tolerances() (down, up float64) {
	down, up = r.config.Tolerance, r.config.Tolerance
	if r.hpa.Spec.Behavior != nil {
		more, fewer := r.rules()
		if more.Tolerance != nil {
			up = more.Tolerance.AsApproximateFloat64()
		}
		if fewer.Tolerance != nil {
			down = fewer.Tolerance.AsApproximateFloat64()
		}
	}
	return down, up
}

// target is what is scaled, for weigh.
func (r *round) target(s *autoscalingv1.Scale, pods []*core.Pod) *target {
	t := &target{pods: pods, spec: s.Spec.Replicas, status: s.Status.Replicas, config: r.config, now: r.now}
	t.down, t.up = r.tolerances()
	return t
}
