package nodelife

import (
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
	"proa.dev/object"
)

// planEvict says whether p has to leave n for its NoExecute taints, now or at a time.
func planEvict(p *core.Pod, n *core.Node, now time.Time) ([]control.Change, control.Again) {
	if p.DeletionTimestamp != nil || control.Finished(p) {
		return nil, control.Done
	}
	var end time.Time // zero: may stay
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		if t.Effect != core.TaintEffectNoExecute {
			continue
		}
		tol := control.Toleration(p.Spec.Tolerations, t)
		if tol == nil {
			end = now
			break
		}
		if tol.TolerationSeconds == nil {
			continue
		}
		since := now
		if t.TimeAdded != nil {
			since = t.TimeAdded.Time
		}
		if p.Status.StartTime != nil && p.Status.StartTime.After(since) {
			since = p.Status.StartTime.Time // it came when the taint was there already
		}
		at := since.Add(max(0, time.Duration(*tol.TolerationSeconds)*time.Second))
		if end.IsZero() || at.Before(end) {
			end = at
		}
	}
	switch {
	case end.IsZero():
		return nil, control.Done
	case now.Before(end):
		return nil, control.Until(end, now)
	}
	n2 := object.Clone(p)
	control.SetPodCondition(&n2.Status, core.PodCondition{
		Type: core.DisruptionTarget, Status: core.ConditionTrue, Reason: "DeletionByTaintManager",
		Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(now),
	})
	return []control.Change{
		{Op: control.Status, Object: n2},
		{Op: control.Delete, Object: p, Said: control.Note{
			On: p, Reason: "TaintManagerEviction", Format: "Marking for deletion Pod " + p.Namespace + "/" + p.Name,
		}},
	}, control.Done
}
