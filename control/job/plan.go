package job

import (
	"cmp"
	"slices"
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/control"
)

const (
	// Back-off between the failure of a pod and its replacement.
	minBackoff = 10 * time.Second
	maxBackoff = 10 * time.Minute
	// maxAtOnce bounds the pods that one pass creates, or deletes.
	maxAtOnce = 500
	// maxUncounted bounds the uids in the status.
	maxUncounted = 500
)

// record is the back-off of a Job: failures in a row, and the end of the last of them. It lives in memory: a new leader starts afresh.
type record struct {
	failures int
	last     time.Time
	// ignored are the pods in it that the status does not count, as the failure policy wants it, and that have their finalizer yet.
	ignored []types.UID
}

func (r record) wait(now time.Time) time.Duration {
	if r.failures == 0 {
		return 0
	}
	return r.last.Add(backoff(r.failures)).Sub(now)
}

// backoff is the wait after so many failures, at least one.
func backoff(failures int) time.Duration {
	d := minBackoff
	for range min(failures-1, 10) {
		d = min(2*d, maxBackoff)
	}
	return d
}

// result is what a plan asks for, in this order: the status, the pods to let go of, the changes.
type result struct {
	status  batch.JobStatus
	release []control.Change
	changes []control.Change
	notes   []control.Note // to tell when the status is written
	record  record
	again   control.Again
}

// turn is one pass of planning.
type turn struct {
	job    *batch.Job
	pods   []*core.Pod
	now    time.Time
	status *batch.JobStatus
	out    *result

	active            []*core.Pod
	ready             int32
	terminating       int32
	planned           int32 // active pods when the changes are made
	succeeded, failed int32 // with those that are not yet in the status
	newSucceeded      []*core.Pod
	newFailed         []*core.Pod
	done              intervals           // indexes that have succeeded
	failedIndexes     intervals           // with backoffLimitPerIndex
	delayed           map[int]*core.Pod   // the failed pod of an index that waits to be replaced
	end               *batch.JobCondition // SuccessCriteriaMet or FailureTarget, if the Job is to end
}

// plan says what to do next with a Job that is not finished.
func plan(job *batch.Job, pods []*core.Pod, rec record, now time.Time) result {
	out := result{status: *job.Status.DeepCopy(), record: rec}
	t := &turn{job: job, pods: slices.Clone(pods), now: now, status: &out.status, out: &out}
	slices.SortFunc(t.pods, func(a, b *core.Pod) int { return cmp.Or(indexOf(a)-indexOf(b), cmp.Compare(a.Name, b.Name)) })
	if t.status.UncountedTerminatedPods == nil {
		t.status.UncountedTerminatedPods = &batch.UncountedTerminatedPods{}
	}
	t.settle()
	t.look()
	if t.status.StartTime == nil && !suspended(job) {
		t.status.StartTime = new(metav1.NewTime(now))
	}
	t.judge()
	if t.end != nil {
		t.stopAll()
	} else {
		if job.DeletionTimestamp == nil {
			t.manage()
		}
		t.judgeSuccess()
		if t.end == nil && job.DeletionTimestamp == nil {
			t.noteSuspension()
		}
	}
	t.status.Active, t.status.Ready, t.status.Terminating = t.planned, &t.ready, &t.terminating
	t.track()
	t.conclude()
	return out
}

func suspended(job *batch.Job) bool { return control.Or(job.Spec.Suspend, false) }

func indexed(job *batch.Job) bool {
	return control.Or(job.Spec.CompletionMode, batch.NonIndexedCompletion) == batch.IndexedCompletion
}

func perIndex(job *batch.Job) bool { return indexed(job) && job.Spec.BackoffLimitPerIndex != nil }

func hasFinalizer(p *core.Pod) bool { return slices.Contains(p.Finalizers, batch.JobTrackingFinalizer) }

// onlyFailed says whether a pod is replaced only when it has ended, not already when it is being deleted.
func onlyFailed(job *batch.Job) bool {
	return job.Spec.PodReplacementPolicy != nil && *job.Spec.PodReplacementPolicy == batch.Failed
}

// hasFailed says whether p counts as failed. A deleted pod does, as it may never come to an end of its own, unless it is only replaced when
// it has.
func hasFailed(job *batch.Job, p *core.Pod) bool {
	return p.Status.Phase == core.PodFailed || !onlyFailed(job) && p.DeletionTimestamp != nil && p.Status.Phase != core.PodSucceeded
}

// look counts the pods.
func (t *turn) look() {
	uncounted := uids(t.status.UncountedTerminatedPods)
	for _, p := range t.pods {
		switch {
		case control.Active(p):
			t.active = append(t.active, p)
			if control.Ready(p) {
				t.ready++
			}
		case p.DeletionTimestamp != nil && !control.Finished(p):
			t.terminating++
		}
		if !hasFinalizer(p) || uncounted[p.UID] {
			continue
		}
		if p.Status.Phase == core.PodSucceeded {
			t.newSucceeded = append(t.newSucceeded, p)
		} else if hasFailed(t.job, p) {
			t.newFailed = append(t.newFailed, p)
		}
	}
	u := t.status.UncountedTerminatedPods
	t.succeeded = t.status.Succeeded + int32(len(u.Succeeded)+len(t.newSucceeded))
	t.failed = t.status.Failed + int32(len(u.Failed))
	for _, p := range t.newFailed {
		if _, counts, _ := matchFailurePolicy(t.job, p); counts {
			t.failed++
		}
	}
	if indexed(t.job) {
		t.lookAtIndexes()
	}
	t.planned = int32(len(t.active))
	t.countBackoff()
}

// countBackoff adds the new ends of pods to the record, in the order of their time.
func (t *turn) countBackoff() {
	type end struct {
		at time.Time
		ok bool
	}
	var ends []end
	for _, p := range t.newSucceeded {
		ends = append(ends, end{finishedAt(p, t.now), true})
	}
	var ignored []types.UID
	for _, p := range t.newFailed {
		if _, counts, _ := matchFailurePolicy(t.job, p); !counts {
			ignored = append(ignored, p.UID)
			if slices.Contains(t.out.record.ignored, p.UID) {
				continue
			}
		}
		ends = append(ends, end{finishedAt(p, t.now), false})
	}
	slices.SortFunc(ends, func(a, b end) int { return a.at.Compare(b.at) })
	for _, e := range ends {
		if e.ok {
			t.out.record = record{}
			continue
		}
		t.out.record.failures++
		t.out.record.last = e.at
	}
	t.out.record.ignored = ignored
}

// finishedAt is when the last container of p ended, or else the best that is known.
func finishedAt(p *core.Pod, now time.Time) time.Time {
	var last time.Time
	for _, c := range p.Status.ContainerStatuses {
		if s := c.State.Terminated; s != nil && s.FinishedAt.After(last) {
			last = s.FinishedAt.Time
		}
	}
	switch {
	case !last.IsZero():
		return last
	case p.DeletionTimestamp != nil:
		grace := time.Duration(control.Or(p.DeletionGracePeriodSeconds, 0)) * time.Second
		return p.DeletionTimestamp.Add(-grace)
	}
	if c := control.Condition(p, core.PodReady); c != nil && !c.LastTransitionTime.IsZero() {
		return c.LastTransitionTime.Time
	}
	return now
}

// manage plans which pods to create or delete.
func (t *turn) manage() {
	if suspended(t.job) {
		t.drop(t.active)
		return
	}
	parallelism, active := control.Or(t.job.Spec.Parallelism, 1), int32(len(t.active))
	var want int32
	switch {
	case t.job.Spec.Completions != nil:
		want = max(0, min(*t.job.Spec.Completions-t.succeeded, parallelism))
	case t.succeeded > 0:
		want = active // what runs may end; no more is begun
	default:
		want = parallelism
	}
	if surplus := t.surplus(int(max(0, active-want))); len(surplus) > 0 {
		t.drop(surplus[:min(len(surplus), maxAtOnce)])
		return // creating waits for the next pass
	}
	lack := want - active
	if onlyFailed(t.job) {
		lack -= t.terminating
	}
	if lack > 0 {
		t.create(int(min(lack, maxAtOnce)))
	}
}

// surplus is at least n active pods to delete, those first that are least of use; and those whose index is taken or not wanted.
func (t *turn) surplus(n int) []*core.Pod {
	var rm, left []*core.Pod
	if indexed(t.job) {
		rm, left = duplicates(t.active, int(control.Or(t.job.Spec.Completions, 0)))
	} else {
		left = slices.Clone(t.active)
	}
	if len(rm) < n {
		sortForRemoval(left)
		rm = append(rm, left[:n-len(rm)]...)
	}
	return rm
}

// sortForRemoval puts the pods first that are least of use: without a node, not running, not ready, young.
func sortForRemoval(pods []*core.Pod) {
	rank := func(p *core.Pod) int {
		n := 0
		if p.Spec.NodeName != "" {
			n += 4
		}
		if p.Status.Phase == core.PodRunning {
			n += 2
		}
		if control.Ready(p) {
			n++
		}
		return n
	}
	slices.SortStableFunc(pods, func(a, b *core.Pod) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), b.CreationTimestamp.Compare(a.CreationTimestamp.Time))
	})
}

// drop plans to delete active pods that count neither as succeeded nor as failed: their finalizer goes first.
func (t *turn) drop(pods []*core.Pod) {
	for _, p := range pods {
		if hasFinalizer(p) {
			t.out.changes = append(t.out.changes, unfinalize(p))
		}
	}
	t.delete(pods)
}

func (t *turn) delete(pods []*core.Pod) {
	for _, p := range pods {
		t.out.changes = append(t.out.changes, control.DeletePod(p, t.job))
		t.planned--
		t.terminating++
		if control.Ready(p) {
			t.ready--
		}
	}
}

// stopAll plans to delete all active pods of a Job that is to end. They keep their finalizer until they are counted.
func (t *turn) stopAll() { t.delete(t.active) }

// create plans n new pods, unless it is too soon after a failure.
func (t *turn) create(n int) {
	if !perIndex(t.job) {
		if wait := t.out.record.wait(t.now); wait > 0 {
			t.out.again = t.out.again.Sooner(control.Again(wait))
			return
		}
	}
	if !indexed(t.job) {
		for range n {
			t.add(t.newPod())
		}
		return
	}
	for _, ix := range t.pendingIndexes(n) {
		t.add(t.newIndexedPod(ix))
	}
}

func (t *turn) add(p *core.Pod) {
	t.out.changes = append(t.out.changes, control.CreatePod(p, t.job))
	t.planned++
}

func (t *turn) newPod() *core.Pod {
	p := control.NewPod(&t.job.Spec.Template, t.job)
	if !slices.Contains(p.Finalizers, batch.JobTrackingFinalizer) {
		p.Finalizers = append(p.Finalizers, batch.JobTrackingFinalizer)
	}
	return p
}

func unfinalize(p *core.Pod) control.Change {
	left := slices.DeleteFunc(slices.Clone(p.Finalizers), func(f string) bool { return f == batch.JobTrackingFinalizer })
	if left == nil {
		left = []string{}
	}
	return control.Change{Op: control.Patch, Object: p, Unordered: true, Patch: control.MergePatch(map[string]any{
		"metadata": map[string]any{"uid": p.UID, "resourceVersion": p.ResourceVersion, "finalizers": left},
	})}
}

func uids(u *batch.UncountedTerminatedPods) map[types.UID]bool {
	out := map[types.UID]bool{}
	for _, uid := range u.Succeeded {
		out[uid] = true
	}
	for _, uid := range u.Failed {
		out[uid] = true
	}
	return out
}
