package batch

import (
	"fmt"
	"slices"

	batch "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/check"
)

// validateJobStatus checks what every Job controller has to keep to, whosever it is (KEP-4368). Rules about the whole status hold
// only for what a write changes, so that an object from before a rule can still be written.
func validateJobStatus(j, old *batch.Job) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s := &j.Status
		check.NonNegativePtr(e, statusPath.Child("active"), &s.Active)
		check.NonNegativePtr(e, statusPath.Child("succeeded"), &s.Succeeded)
		check.NonNegativePtr(e, statusPath.Child("failed"), &s.Failed)
		check.NonNegativePtr(e, statusPath.Child("ready"), s.Ready)
		check.NonNegativePtr(e, statusPath.Child("terminating"), s.Terminating)
		if u := s.UncountedTerminatedPods; u != nil {
			seen := map[types.UID]bool{}
			uncounted(e, statusPath.Child("uncountedTerminatedPods", "succeeded"), u.Succeeded, seen)
			uncounted(e, statusPath.Child("uncountedTerminatedPods", "failed"), u.Failed, seen)
		}
		v := statusCheck{Errors: e, j: j, old: old}
		v.complete()
		v.finished()
		v.indexes()
		v.last()
		transitions(e, j, old)
	})
}

func uncounted(e *check.Errors, p *field.Path, list []types.UID, seen map[types.UID]bool) {
	for i, uid := range list {
		switch {
		case uid == "":
			e.Invalid(p.Index(i), uid, "must not be empty")
		case seen[uid]:
			e.Duplicate(p.Index(i), uid)
		}
		seen[uid] = true
	}
}

// statusCheck is one check of a status.
type statusCheck struct {
	*check.Errors
	j, old *batch.Job
}

func (c *statusCheck) is(t batch.JobConditionType) bool { return hasCondition(c.j, t) }

// turned says whether the condition is another one than before.
func (c *statusCheck) turned(t batch.JobConditionType) bool { return c.is(t) != hasCondition(c.old, t) }

func (c *statusCheck) bad(detail string) {
	c.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, detail)
}

func (c *statusCheck) complete() {
	s, was, done := &c.j.Status, &c.old.Status, c.is(batch.JobComplete)
	turned := c.turned(batch.JobComplete)
	if (turned || c.turned(batch.JobFailed)) && done && c.is(batch.JobFailed) {
		c.bad("cannot set Complete=True and Failed=true conditions")
	}
	if (turned || c.turned(batch.JobFailureTarget)) && done && c.is(batch.JobFailureTarget) {
		c.bad("cannot set Complete=True and FailureTarget=true conditions")
	}
	ended, began := !sameTime(s.CompletionTime, was.CompletionTime), !sameTime(s.StartTime, was.StartTime)
	p := statusPath.Child("completionTime")
	if (turned || ended) && s.CompletionTime != nil && !done {
		c.Invalid(p, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
	}
	if (turned || ended) && s.CompletionTime == nil && done {
		c.Required(p, "completionTime is required for Complete jobs")
	}
	if (began || ended) && s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime) {
		c.Invalid(p, s.CompletionTime, "must be equal to or after `startTime`")
	}
	if (c.turned(batch.JobFailed) || !ptr.Equal(s.FailedIndexes, was.FailedIndexes)) && c.is(batch.JobFailed) && !c.is(batch.JobFailureTarget) {
		c.bad("cannot set Failed=True condition without the FailureTarget=true condition")
	}
	if (turned || c.turned(batch.JobSuccessCriteriaMet)) && done && !c.is(batch.JobSuccessCriteriaMet) {
		c.bad("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	}
}

func isFinished(j *batch.Job) bool {
	return hasCondition(j, batch.JobComplete) || hasCondition(j, batch.JobFailed)
}

func (c *statusCheck) finished() {
	s, was := &c.j.Status, &c.old.Status
	if !isFinished(c.j) {
		return
	}
	turned := !isFinished(c.old)
	if (turned || s.Active != was.Active) && s.Active > 0 {
		c.Invalid(statusPath.Child("active"), s.Active, "active>0 is invalid for finished job")
	}
	nothingToDo := ptr.Deref(c.j.Spec.Suspend, false) && c.j.Spec.Completions != nil && *c.j.Spec.Completions == 0
	if (turned || !sameTime(s.StartTime, was.StartTime)) && !nothingToDo && s.StartTime == nil {
		c.Required(statusPath.Child("startTime"), "startTime is required for finished job")
	}
	u := s.UncountedTerminatedPods
	if (turned || !equality.Semantic.DeepEqual(u, was.UncountedTerminatedPods)) && u != nil && len(u.Failed)+len(u.Succeeded) > 0 {
		c.Invalid(statusPath.Child("uncountedTerminatedPods"), u, "must be empty for finished job")
	}
}

func (c *statusCheck) indexes() {
	s, was, spec := &c.j.Status, &c.old.Status, &c.j.Spec
	completed, failed := s.CompletedIndexes != was.CompletedIndexes, !ptr.Equal(s.FailedIndexes, was.FailedIndexes)
	pc, pf := statusPath.Child("completedIndexes"), statusPath.Child("failedIndexes")
	if completed && spec.Completions != nil {
		if _, err := countIndexes(s.CompletedIndexes, *spec.Completions); err != nil {
			c.Invalid(pc, s.CompletedIndexes, fmt.Sprintf("error parsing completedIndexes: %s", err))
		}
	}
	if failed && spec.Completions != nil && spec.BackoffLimitPerIndex != nil && s.FailedIndexes != nil {
		if _, err := countIndexes(*s.FailedIndexes, *spec.Completions); err != nil {
			c.Invalid(pf, s.FailedIndexes, fmt.Sprintf("error parsing failedIndexes: %s", err))
		}
	}
	if completed && s.CompletedIndexes != "" && !indexed(spec) {
		c.Invalid(pc, s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if failed && spec.BackoffLimitPerIndex == nil && s.FailedIndexes != nil {
		c.Invalid(pf, *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if (completed || failed) && spec.Completions != nil && s.FailedIndexes != nil {
		if i, both := overlapOf(s.CompletedIndexes, *s.FailedIndexes, *spec.Completions); both {
			c.Invalid(pf, *s.FailedIndexes, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", i))
		}
	}
}

func (c *statusCheck) last() {
	s, was := &c.j.Status, &c.old.Status
	if n := s.Terminating; isFinished(c.j) && (!isFinished(c.old) || !ptr.Equal(n, was.Terminating)) && ptr.Deref(n, 0) > 0 {
		c.Invalid(statusPath.Child("terminating"), n, "terminating>0 is invalid for finished job")
	}
	if r := s.Ready; r != nil && *r > s.Active && (!ptr.Equal(r, was.Ready) || s.Active != was.Active) {
		c.Invalid(statusPath.Child("ready"), *r, "cannot set more ready pods than active")
	}
	met := c.is(batch.JobSuccessCriteriaMet)
	if met && c.is(batch.JobFailed) {
		c.bad("cannot set SuccessCriteriaMet=True and Failed=true conditions")
	}
	if met && c.is(batch.JobFailureTarget) {
		c.bad("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	}
	if c.j.Spec.SuccessPolicy != nil && !met && c.is(batch.JobComplete) {
		c.bad("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
	}
}

func transitions(e *check.Errors, j, old *batch.Job) {
	s, was := &j.Status, &old.Status
	for _, t := range []batch.JobConditionType{batch.JobFailed, batch.JobComplete, batch.JobFailureTarget} {
		if hasCondition(old, t) && !hasCondition(j, t) {
			e.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, fmt.Sprintf("cannot disable the terminal %s=True condition", t))
		}
	}
	if s.Failed < was.Failed {
		e.Invalid(statusPath.Child("failed"), s.Failed, "cannot decrease the failed counter")
	}
	if s.Succeeded < was.Succeeded && !(indexed(&j.Spec) && ptr.Equal(j.Spec.Completions, j.Spec.Parallelism)) { // those may shrink
		e.Invalid(statusPath.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter")
	}
	if s.CompletionTime != nil && was.CompletionTime != nil && !sameTime(s.CompletionTime, was.CompletionTime) {
		e.Invalid(statusPath.Child("completionTime"), s.CompletionTime, "field is immutable")
	}
	resumes := hasCondition(old, batch.JobSuspended) && slices.ContainsFunc(s.Conditions, func(c batch.JobCondition) bool {
		return c.Type == batch.JobSuspended && c.Status == corev1.ConditionFalse
	})
	if was.StartTime != nil && !sameTime(s.StartTime, was.StartTime) && !ptr.Deref(j.Spec.Suspend, false) && !resumes {
		e.Invalid(statusPath.Child("startTime"), s.StartTime, "field is immutable for unsuspended job once set")
	}
	met, wasMet := hasCondition(j, batch.JobSuccessCriteriaMet), hasCondition(old, batch.JobSuccessCriteriaMet)
	if wasMet && !met {
		e.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, "cannot disable the SuccessCriteriaMet=True condition")
	}
	if hasCondition(old, batch.JobComplete) && !wasMet && met {
		e.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
	}
}

// sameTime compares times as the API has them, in whole seconds: a job that a controller of the same process wrote may hold more.
func sameTime(a, b *metav1.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Unix() == b.Unix()
}
