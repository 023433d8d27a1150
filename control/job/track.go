package job

import (
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/control"
)

// settle turns uids whose pods have lost their finalizer into counts. The pods may be deleted by now.
func (t *turn) settle() {
	held := map[types.UID]bool{}
	for _, p := range t.pods {
		held[p.UID] = hasFinalizer(p)
	}
	u := t.status.UncountedTerminatedPods
	keep := func(list []types.UID, count *int32) (left []types.UID) {
		for _, uid := range list {
			if held[uid] {
				left = append(left, uid)
			} else {
				*count++
			}
		}
		return left
	}
	ignored := new(int32)
	if !indexed(t.job) {
		ignored = &t.status.Succeeded // an Indexed Job counts its indexes
	}
	u.Succeeded = keep(u.Succeeded, ignored)
	u.Failed = keep(u.Failed, &t.status.Failed)
}

// track notes the uids of pods that have ended, and plans to let those go that the status will have noted.
func (t *turn) track() {
	u := t.status.UncountedTerminatedPods
	noted := uids(u)
	failing := t.end != nil && t.end.Type == batch.JobFailureTarget
	for _, p := range t.pods {
		if !hasFinalizer(p) || !t.mayRelease(p) {
			continue
		}
		if noted[p.UID] {
			t.out.release = append(t.out.release, unfinalize(p))
			continue
		}
		ix := indexOf(p)
		valid := !indexed(t.job) || ix >= 0 && ix < int(control.Or(t.job.Spec.Completions, 0))
		counts := false
		switch {
		case p.Status.Phase == core.PodSucceeded:
			if !indexed(t.job) {
				u.Succeeded = append(u.Succeeded, p.UID) // completedIndexes has it otherwise
			}
		case hasFailed(t.job, p) || failing:
			_, counts, _ = matchFailurePolicy(t.job, p)
		}
		if counts && valid {
			u.Failed = append(u.Failed, p.UID)
		}
		t.out.release = append(t.out.release, unfinalize(p))
		if len(u.Succeeded)+len(u.Failed) >= maxUncounted {
			t.out.again = control.Again(1) // there may be more than fits into the status at once
			break
		}
	}
	if indexed(t.job) {
		t.status.CompletedIndexes = t.done.String()
		t.status.Succeeded = int32(t.done.total())
		if perIndex(t.job) {
			t.status.FailedIndexes = new(t.failedIndexes.String())
		}
	}
}

// mayRelease says whether the end of p is known, so that it can be counted and let go.
func (t *turn) mayRelease(p *core.Pod) bool {
	if t.job.DeletionTimestamp != nil || t.end != nil || p.Status.Phase == core.PodSucceeded {
		return true
	}
	// The failed pod of an index holds the count of its failures until another pod has taken it over.
	return hasFailed(t.job, p) && (t.delayed == nil || t.delayed[indexOf(p)] != p)
}
