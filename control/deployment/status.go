package deployment

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
)

// noDeadline as progressDeadlineSeconds means that progress is not judged.
const noDeadline = 1<<31 - 1

func condition(st apps.DeploymentStatus, t apps.DeploymentConditionType) *apps.DeploymentCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == t {
			return &st.Conditions[i]
		}
	}
	return nil
}

// setCondition replaces a condition, unless it has this status and reason already.
func setCondition(st *apps.DeploymentStatus, c apps.DeploymentCondition) {
	if have := condition(*st, c.Type); have != nil {
		if have.Status == c.Status && have.Reason == c.Reason {
			return
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
	}
	dropCondition(st, c.Type)
	st.Conditions = append(st.Conditions, c)
}

func dropCondition(st *apps.DeploymentStatus, t apps.DeploymentConditionType) {
	st.Conditions = slices.DeleteFunc(st.Conditions, func(c apps.DeploymentCondition) bool { return c.Type == t })
	if len(st.Conditions) == 0 {
		st.Conditions = nil
	}
}

func (r *rollout) deadline() (time.Duration, bool) {
	s := r.d.Spec.ProgressDeadlineSeconds
	if s == nil || *s == noDeadline {
		return 0, false
	}
	return time.Duration(*s) * time.Second, true
}

func newCondition(t apps.DeploymentConditionType, s core.ConditionStatus, reason, message string, now time.Time) apps.DeploymentCondition {
	at := metav1.NewTime(now)
	return apps.DeploymentCondition{Type: t, Status: s, Reason: reason, Message: message, LastUpdateTime: at, LastTransitionTime: at}
}

// progress sets the condition Progressing, where progress is judged at all.
func (r *rollout) progress(s core.ConditionStatus, reason, message string) {
	if _, ok := r.deadline(); ok {
		setCondition(&r.out.status, newCondition(apps.DeploymentProgressing, s, reason, message, r.now))
	}
}

// notePause makes the time that a Deployment is paused not count against its deadline.
func (r *rollout) notePause() {
	have := condition(r.d.Status, apps.DeploymentProgressing)
	if have != nil && have.Reason == "ProgressDeadlineExceeded" {
		return
	}
	noted := have != nil && have.Reason == "DeploymentPaused"
	switch {
	case r.d.Spec.Paused && !noted:
		r.progress(core.ConditionUnknown, "DeploymentPaused", "Deployment is paused")
	case !r.d.Spec.Paused && noted:
		r.progress(core.ConditionUnknown, "DeploymentResumed", "Deployment is resumed")
	}
}

// count fills the numbers of the status and the condition Available.
func (r *rollout) count() {
	st, d := &r.out.status, r.d
	st.ObservedGeneration = d.Generation
	st.Replicas, st.UpdatedReplicas, st.ReadyReplicas, st.AvailableReplicas = 0, 0, 0, 0
	terminating := new(int32)
	for _, rs := range r.all() {
		st.Replicas += rs.Status.Replicas
		st.ReadyReplicas += rs.Status.ReadyReplicas
		st.AvailableReplicas += rs.Status.AvailableReplicas
		switch {
		case rs.Status.TerminatingReplicas != nil && terminating != nil:
			*terminating += *rs.Status.TerminatingReplicas
		case rs.Status.TerminatingReplicas == nil && rs.Status.ObservedGeneration > 0:
			terminating = nil // a set that does not count them: the sum is not known
		}
	}
	st.TerminatingReplicas = terminating
	if r.newest != nil {
		st.UpdatedReplicas = r.newest.Status.Replicas
	}
	st.UnavailableReplicas = max(0, r.totalSize(r.all())-st.AvailableReplicas)
	if st.AvailableReplicas >= r.replicas-maxUnavailable(d) {
		setCondition(st, newCondition(apps.DeploymentAvailable, core.ConditionTrue, "MinimumReplicasAvailable",
			"Deployment has minimum availability.", r.now))
	} else {
		setCondition(st, newCondition(apps.DeploymentAvailable, core.ConditionFalse, "MinimumReplicasUnavailable",
			"Deployment does not have minimum availability.", r.now))
	}
}

// complete says whether all wanted pods are of the newest template and available, and no others are left.
func complete(d *apps.Deployment, st *apps.DeploymentStatus) bool {
	n := replicasOf(d)
	return st.UpdatedReplicas == n && st.Replicas == n && st.AvailableReplicas == n && st.ObservedGeneration >= d.Generation
}

// syncStatus works out the status; judge is whether the rollout's progress is judged in this pass.
func (r *rollout) syncStatus(judge bool) {
	was := r.d.Status
	r.count()
	st := &r.out.status
	if judge {
		r.judge()
		r.noteFailures()
	}
	if _, ok := r.deadline(); !ok {
		dropCondition(st, apps.DeploymentProgressing)
	}
	r.out.urgent = r.out.urgent || news(r.d, was, *st)
}

// news is what somebody may wait for: completion, pods that became unavailable, a failure, a pause.
func news(d *apps.Deployment, was, is apps.DeploymentStatus) bool {
	if reflect.DeepEqual(was, is) {
		return false
	}
	if complete(d, &is) || is.AvailableReplicas < was.AvailableReplicas {
		return true
	}
	for _, c := range is.Conditions {
		if c.Type == apps.DeploymentAvailable && was.ObservedGeneration == 0 {
			continue // not available yet is no news of a new Deployment
		}
		if have := condition(was, c.Type); (have == nil || have.Status != c.Status) && c.Reason != "NewReplicaSetCreated" && c.Reason != "ReplicaSetUpdated" {
			return true
		}
	}
	return false
}

// judge sets the condition Progressing by what changed since the last status.
func (r *rollout) judge() {
	deadline, ok := r.deadline()
	if !ok {
		return
	}
	d, was, st := r.d, &r.d.Status, &r.out.status
	have := condition(*was, apps.DeploymentProgressing)
	if st.Replicas == st.UpdatedReplicas && have != nil && have.Reason == "NewReplicaSetAvailable" {
		return // a rollout that ended well stays so, whatever becomes of single pods
	}
	what := fmt.Sprintf("Deployment %q", d.Name)
	if r.newest != nil {
		what = fmt.Sprintf("ReplicaSet %q", r.newest.Name)
	}
	switch {
	case complete(d, st):
		r.progress(core.ConditionTrue, "NewReplicaSetAvailable", what+" has successfully progressed.")
		return
	case moved(was, st):
		c := newCondition(apps.DeploymentProgressing, core.ConditionTrue, "ReplicaSetUpdated", what+" is progressing.", r.now)
		if have != nil && have.Status == core.ConditionTrue {
			c.LastTransitionTime = have.LastTransitionTime
		}
		dropCondition(st, apps.DeploymentProgressing) // the update time is new even where nothing else is
		st.Conditions = append(st.Conditions, c)
	case have == nil && r.newest != nil && r.out.creates == "":
		if was.ObservedGeneration == 0 { // we made it, but have not said so yet
			r.progress(core.ConditionTrue, "NewReplicaSetCreated", fmt.Sprintf("Created new replica set %q", r.newest.Name))
		} else {
			r.progress(core.ConditionTrue, "FoundNewReplicaSet", fmt.Sprintf("Found new replica set %q", r.newest.Name))
		}
	}
	if c := condition(*st, apps.DeploymentProgressing); c != nil && c.Reason != "NewReplicaSetAvailable" && c.Reason != "ProgressDeadlineExceeded" {
		end := c.LastUpdateTime.Add(deadline)
		if r.now.Before(end) {
			r.out.again = r.out.again.Sooner(control.Until(end, r.now))
		} else {
			r.progress(core.ConditionFalse, "ProgressDeadlineExceeded", what+" has timed out progressing.")
		}
	}
}

// moved says whether anything got better: more pods updated, ready or available, or fewer old ones.
func moved(was, is *apps.DeploymentStatus) bool {
	return is.UpdatedReplicas > was.UpdatedReplicas || is.Replicas-is.UpdatedReplicas < was.Replicas-was.UpdatedReplicas ||
		is.ReadyReplicas > was.ReadyReplicas || is.AvailableReplicas > was.AvailableReplicas
}

// noteFailures shows the ReplicaFailure of a set, of the newest for preference.
func (r *rollout) noteFailures() {
	sets := r.all()
	slices.Reverse(sets)
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == apps.ReplicaSetReplicaFailure {
				setCondition(&r.out.status, apps.DeploymentCondition{
					Type: apps.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastTransitionTime: c.LastTransitionTime, LastUpdateTime: c.LastTransitionTime,
				})
				return
			}
		}
	}
	dropCondition(&r.out.status, apps.DeploymentReplicaFailure)
}
