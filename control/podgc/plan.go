package podgc

import (
	"cmp"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
	"proa.dev/object"
)

const (
	// quarantine is how long a node may be missing before its pods are taken for lost.
	quarantine = 40 * time.Second
	// maxFinished is how many finished pods there may be in the cluster.
	maxFinished = 12500
)

// planPod says what to do with one pod. node is its node, nil where that does not exist: then missing is since when, and sure whether the
// API itself says so.
func planPod(p *core.Pod, node *core.Node, missing time.Time, sure bool, now time.Time) ([]control.Change, control.Again) {
	switch {
	case p.Spec.NodeName == "" && p.DeletionTimestamp != nil:
		return remove(p, nil, now), control.Done
	case p.Spec.NodeName == "":
		return nil, control.Done
	case node == nil:
		if end := missing.Add(quarantine); now.Before(end) {
			return nil, control.Until(end, now)
		}
		if !sure {
			return nil, control.Done
		}
		return remove(p, &core.PodCondition{
			Type: core.DisruptionTarget, Status: core.ConditionTrue, Reason: "DeletionByPodGC", Message: "PodGC: node no longer exists",
		}, now), control.Done
	case p.DeletionTimestamp != nil && control.NodeReady(node) != core.ConditionTrue && outOfService(node):
		return remove(p, nil, now), control.Done
	}
	return nil, control.Done
}

func outOfService(n *core.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t core.Taint) bool { return t.Key == core.TaintNodeOutOfService })
}

// remove marks a pod as failed, so that what waits for its end sees one, and deletes it without asking its kubelet.
func remove(p *core.Pod, cond *core.PodCondition, now time.Time) []control.Change {
	var changes []control.Change
	if !control.Finished(p) {
		n := object.Clone(p)
		n.Status.Phase = core.PodFailed
		if cond != nil {
			cond.LastTransitionTime = metav1.NewTime(now)
			control.SetPodCondition(&n.Status, *cond)
		}
		changes = append(changes, control.Change{Op: control.Status, Object: n})
	}
	return append(changes, control.Change{Op: control.Delete, Object: p, Grace: new(int64)})
}

// surplus is the finished pods to delete: evicted ones first, then the oldest.
func surplus(finished []*core.Pod, keep int, now time.Time) []control.Change {
	if len(finished) <= keep {
		return nil
	}
	out := slices.Clone(finished)
	slices.SortFunc(out, func(a, b *core.Pod) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name),
		)
	})
	var changes []control.Change
	for _, p := range out[:len(out)-keep] {
		changes = append(changes, remove(p, nil, now)...)
	}
	return changes
}

func rank(p *core.Pod) int {
	if p.Status.Phase == core.PodFailed && p.Status.Reason == "Evicted" {
		return 0
	}
	return 1
}
