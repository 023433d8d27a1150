package job

import (
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
)

func condition(st *batch.JobStatus, t batch.JobConditionType) *batch.JobCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == t {
			return &st.Conditions[i]
		}
	}
	return nil
}

func isTrue(c *batch.JobCondition) bool { return c != nil && c.Status == core.ConditionTrue }

// finished is the condition Complete or Failed of a Job that has ended, or nil.
func finished(job *batch.Job) *batch.JobCondition {
	for _, t := range []batch.JobConditionType{batch.JobComplete, batch.JobFailed} {
		if c := condition(&job.Status, t); isTrue(c) {
			return c
		}
	}
	return nil
}

func (t *turn) newCondition(typ batch.JobConditionType, s core.ConditionStatus, reason, message string) batch.JobCondition {
	at := metav1.NewTime(t.now)
	return batch.JobCondition{Type: typ, Status: s, Reason: reason, Message: message, LastProbeTime: at, LastTransitionTime: at}
}

// set sets a condition and says whether its status changed. A condition that was never there does not become false.
func (t *turn) set(c batch.JobCondition) bool {
	if have := condition(t.status, c.Type); have != nil {
		if have.Status == c.Status && have.Reason == c.Reason && have.Message == c.Message {
			return false
		}
		*have = c
		return true
	}
	if c.Status == core.ConditionFalse {
		return false
	}
	t.status.Conditions = append(t.status.Conditions, c)
	return true
}

func (t *turn) finish(typ batch.JobConditionType, reason, message string) {
	t.end = new(t.newCondition(typ, core.ConditionTrue, reason, message))
}

// judge finds out whether the Job is to end, in the order in which reasons take precedence: what was decided before, failure policy,
// back-off limit, deadline, failed indexes, success policy.
func (t *turn) judge() {
	for _, typ := range []batch.JobConditionType{batch.JobSuccessCriteriaMet, batch.JobFailureTarget} {
		if c := condition(t.status, typ); isTrue(c) {
			t.end = new(*c)
			return
		}
	}
	spec := t.job.Spec
	if message, ok := t.failurePolicyFailsJob(); ok {
		t.finish(batch.JobFailureTarget, batch.JobReasonPodFailurePolicy, message)
		return
	}
	limit := control.Or(spec.BackoffLimit, 6)
	if t.failed > limit || pastRestarts(t.job, limit, t.pods) {
		t.finish(batch.JobFailureTarget, batch.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
		return
	}
	if spec.ActiveDeadlineSeconds != nil && t.status.StartTime != nil && !suspended(t.job) {
		end := t.status.StartTime.Add(time.Duration(*spec.ActiveDeadlineSeconds) * time.Second)
		if !t.now.Before(end) {
			t.finish(batch.JobFailureTarget, batch.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
			return
		}
		t.out.again = t.out.again.Sooner(control.Until(end, t.now))
	}
	if !indexed(t.job) {
		return
	}
	if perIndex(t.job) {
		n := t.failedIndexes.total()
		switch {
		case spec.MaxFailedIndexes != nil && n > int(*spec.MaxFailedIndexes):
			t.finish(batch.JobFailureTarget, batch.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
			return
		case n > 0 && n+t.done.total() >= int(control.Or(spec.Completions, 0)):
			t.finish(batch.JobFailureTarget, batch.JobReasonFailedIndexes, "Job has failed indexes")
			return
		}
	}
	if message, ok := matchSuccessPolicy(t.job, t.done); ok {
		t.finish(batch.JobSuccessCriteriaMet, batch.JobReasonSuccessPolicy, message)
	}
}

// pastRestarts says whether containers that restart in place have done so too often.
func pastRestarts(job *batch.Job, limit int32, pods []*core.Pod) bool {
	if job.Spec.Template.Spec.RestartPolicy != core.RestartPolicyOnFailure {
		return false
	}
	n := int32(0)
	for _, p := range pods {
		if p.Status.Phase != core.PodRunning && p.Status.Phase != core.PodPending {
			continue
		}
		for _, list := range [][]core.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for _, c := range list {
				n += c.RestartCount
			}
		}
	}
	return n > 0 && n >= limit
}

// judgeSuccess finds out whether enough pods have succeeded.
func (t *turn) judgeSuccess() {
	enough := t.succeeded > 0
	if t.job.Spec.Completions != nil {
		enough = t.succeeded >= *t.job.Spec.Completions
	}
	if enough && t.planned == 0 {
		t.finish(batch.JobSuccessCriteriaMet, batch.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
	}
}

// noteSuspension sets the condition Suspended. The time that a Job is suspended does not count against its deadline.
func (t *turn) noteSuspension() {
	if suspended(t.job) {
		if t.set(t.newCondition(batch.JobSuspended, core.ConditionTrue, "JobSuspended", "Job suspended")) {
			t.status.StartTime = nil
			t.note(core.EventTypeNormal, "Suspended", "Job suspended")
		}
		return
	}
	if t.set(t.newCondition(batch.JobSuspended, core.ConditionFalse, "JobResumed", "Job resumed")) {
		t.status.StartTime = new(metav1.NewTime(t.now))
		t.note(core.EventTypeNormal, "Resumed", "Job resumed")
	}
}

func (t *turn) note(typ, reason, message string) {
	t.out.notes = append(t.out.notes, control.Note{On: t.job, Type: typ, Reason: reason, Format: message})
}

// conclude writes how the Job ends: first what it comes to, and, once every pod has ended and is counted, that it is over.
func (t *turn) conclude() {
	if t.end == nil {
		return
	}
	u := t.status.UncountedTerminatedPods
	settled := len(u.Succeeded)+len(u.Failed) == 0 && len(t.out.release) == 0 && t.terminating == 0 && t.planned == 0
	if !isTrue(condition(&t.job.Status, t.end.Type)) || !settled {
		t.set(*t.end)
		return
	}
	final := t.newCondition(batch.JobFailed, core.ConditionTrue, t.end.Reason, t.end.Message)
	if t.end.Type == batch.JobSuccessCriteriaMet {
		final.Type = batch.JobComplete
		t.status.CompletionTime = &final.LastTransitionTime
		t.note(core.EventTypeNormal, "Completed", "Job completed")
	} else {
		t.note(core.EventTypeWarning, final.Reason, final.Message)
	}
	t.set(final)
}
