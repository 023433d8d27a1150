package batch

import (
	"fmt"

	batch "k8s.io/api/batch/v1"
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
		conditionsAgree(e, j, old)
		finished(e, j, old)
		indexesOfStatus(e, j, old)
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

func conditionsAgree(e *check.Errors, j, old *batch.Job) {
	p := statusPath.Child("conditions")
	bad := func(detail string) { e.Invalid(p, field.OmitValueType{}, detail) }
	is := func(t batch.JobConditionType) bool { return hasCondition(j, t) }
	became := func(t batch.JobConditionType) bool { return is(t) && !hasCondition(old, t) }
	if is(batch.JobComplete) && is(batch.JobFailed) && (became(batch.JobComplete) || became(batch.JobFailed)) {
		bad("cannot set Complete=True and Failed=true conditions")
	}
	if is(batch.JobComplete) && is(batch.JobFailureTarget) && (became(batch.JobComplete) || became(batch.JobFailureTarget)) {
		bad("cannot set Complete=True and FailureTarget=true conditions")
	}
	if became(batch.JobFailed) && !is(batch.JobFailureTarget) {
		bad("cannot set Failed=True condition without the FailureTarget=true condition")
	}
	if became(batch.JobComplete) && !is(batch.JobSuccessCriteriaMet) {
		bad("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	}
	if is(batch.JobSuccessCriteriaMet) && is(batch.JobFailed) {
		bad("cannot set SuccessCriteriaMet=True and Failed=true conditions")
	}
	if is(batch.JobSuccessCriteriaMet) && is(batch.JobFailureTarget) {
		bad("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	}
}

func isFinished(j *batch.Job) bool {
	return hasCondition(j, batch.JobComplete) || hasCondition(j, batch.JobFailed)
}

func finished(e *check.Errors, j, old *batch.Job) {
	s, complete := &j.Status, hasCondition(j, batch.JobComplete)
	switch p := statusPath.Child("completionTime"); {
	case s.CompletionTime != nil && !complete:
		e.Invalid(p, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
	case s.CompletionTime == nil && complete && !hasCondition(old, batch.JobComplete):
		e.Required(p, "completionTime is required for Complete jobs")
	case s.CompletionTime != nil && s.StartTime != nil && s.CompletionTime.Before(s.StartTime):
		e.Invalid(p, s.CompletionTime, "must be equal to or after `startTime`")
	}
	if r := s.Ready; r != nil && *r > s.Active {
		e.Invalid(statusPath.Child("ready"), *r, "cannot set more ready pods than active")
	}
	if !isFinished(j) {
		return
	}
	if s.Active > 0 {
		e.Invalid(statusPath.Child("active"), s.Active, "active>0 is invalid for finished job")
	}
	if s.StartTime == nil && !isFinished(old) {
		e.Required(statusPath.Child("startTime"), "startTime is required for finished job")
	}
	if u := s.UncountedTerminatedPods; u != nil && len(u.Failed)+len(u.Succeeded) > 0 {
		e.Invalid(statusPath.Child("uncountedTerminatedPods"), u, "must be empty for finished job")
	}
	if n := ptr.Deref(s.Terminating, 0); n > 0 && !isFinished(old) {
		e.Invalid(statusPath.Child("terminating"), n, "terminating>0 is invalid for finished job")
	}
}

func indexesOfStatus(e *check.Errors, j, old *batch.Job) {
	s, n := &j.Status, ptr.Deref(j.Spec.Completions, 0)
	if p := statusPath.Child("completedIndexes"); s.CompletedIndexes != old.Status.CompletedIndexes {
		if s.CompletedIndexes != "" && !indexed(&j.Spec) {
			e.Invalid(p, s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
		} else if _, err := countIndexes(s.CompletedIndexes, n); err != nil {
			e.Invalid(p, s.CompletedIndexes, fmt.Sprintf("error parsing completedIndexes: %s", err))
		}
	}
	if p := statusPath.Child("failedIndexes"); s.FailedIndexes != nil && !ptr.Equal(s.FailedIndexes, old.Status.FailedIndexes) {
		if j.Spec.BackoffLimitPerIndex == nil {
			e.Invalid(p, *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
		} else if _, err := countIndexes(*s.FailedIndexes, n); err != nil {
			e.Invalid(p, s.FailedIndexes, fmt.Sprintf("error parsing failedIndexes: %s", err))
		}
	}
}

func transitions(e *check.Errors, j, old *batch.Job) {
	s, was := &j.Status, &old.Status
	for _, t := range []batch.JobConditionType{batch.JobFailed, batch.JobComplete, batch.JobFailureTarget} {
		if hasCondition(old, t) && !hasCondition(j, t) {
			e.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, fmt.Sprintf("cannot disable the terminal %s=True condition", t))
		}
	}
	if hasCondition(old, batch.JobSuccessCriteriaMet) && !hasCondition(j, batch.JobSuccessCriteriaMet) {
		e.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, "cannot disable the SuccessCriteriaMet=True condition")
	}
	if s.Failed < was.Failed {
		e.Invalid(statusPath.Child("failed"), s.Failed, "cannot decrease the failed counter")
	}
	if s.Succeeded < was.Succeeded {
		e.Invalid(statusPath.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter")
	}
	if s.CompletionTime != nil && was.CompletionTime != nil && !sameTime(s.CompletionTime, was.CompletionTime) {
		e.Invalid(statusPath.Child("completionTime"), s.CompletionTime, "field is immutable")
	}
	if was.StartTime != nil && !sameTime(s.StartTime, was.StartTime) && !ptr.Deref(j.Spec.Suspend, false) {
		e.Invalid(statusPath.Child("startTime"), s.StartTime, "field is immutable for unsuspended job once set")
	}
}

// sameTime compares times as the API has them, in whole seconds: a job that a controller of the same process wrote may hold more.
func sameTime(a, b *metav1.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Unix() == b.Unix()
}
