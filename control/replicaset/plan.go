package replicaset

import (
	"reflect"
	"slices"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/control"
)

// planPods says which pods to create or delete. mine are the active pods of the set; related are the pods of its sibling sets too, by
// whose place the ones to delete are chosen.
func planPods(s set, mine, related []*core.Pod) []control.Change {
	if s.object.GetDeletionTimestamp() != nil {
		return nil
	}
	var changes []control.Change
	for range int(s.replicas) - len(mine) {
		changes = append(changes, control.CreatePod(control.NewPod(s.template, s.object), s.object))
	}
	if surplus := len(mine) - int(s.replicas); surplus > 0 {
		for _, p := range leastMissed(mine, related)[:surplus] {
			changes = append(changes, control.DeletePod(p, s.object))
		}
	}
	return changes
}

// planStatus is the status that follows from the pods; failed is why pods could not be created or deleted, with the number of active
// pods that there were then. It is nil where nothing changes. again is when the next pod becomes available by itself.
func planStatus(s set, mine, terminating []*core.Pod, failed error, now time.Time) (st *apps.ReplicaSetStatus, again control.Again) {
	next := *s.status.DeepCopy()
	next.Replicas, next.FullyLabeledReplicas, next.ReadyReplicas, next.AvailableReplicas = int32(len(mine)), 0, 0, 0
	full := labels.SelectorFromSet(s.template.Labels)
	for _, p := range mine {
		if full.Matches(labels.Set(p.Labels)) {
			next.FullyLabeledReplicas++
		}
		if !control.Ready(p) {
			continue
		}
		next.ReadyReplicas++
		ok, wait := control.Available(p, s.minReady, now)
		if ok {
			next.AvailableReplicas++
		}
		again = again.Sooner(wait)
	}
	if s.countsTerminating() {
		next.TerminatingReplicas = new(int32(len(terminating)))
	}
	next.ObservedGeneration = s.object.GetGeneration()
	setFailure(&next, failed, int(s.replicas)-len(mine), now)
	if reflect.DeepEqual(next, s.status) {
		return nil, again
	}
	return &next, again
}

func setFailure(st *apps.ReplicaSetStatus, failed error, missing int, now time.Time) {
	at := slices.IndexFunc(st.Conditions, func(c apps.ReplicaSetCondition) bool { return c.Type == apps.ReplicaSetReplicaFailure })
	switch {
	case failed == nil && at >= 0:
		st.Conditions = slices.Delete(st.Conditions, at, at+1)
		if len(st.Conditions) == 0 {
			st.Conditions = nil
		}
	case failed != nil && at < 0:
		reason := "FailedCreate"
		if missing < 0 {
			reason = "FailedDelete"
		}
		st.Conditions = append(st.Conditions, apps.ReplicaSetCondition{
			Type: apps.ReplicaSetReplicaFailure, Status: core.ConditionTrue, LastTransitionTime: metav1.NewTime(now),
			Reason: reason, Message: failed.Error(),
		})
	}
}

// urgent says whether next is news that somebody waits for, and not only a step on the way.
func urgent(s set, next *apps.ReplicaSetStatus) bool {
	return next.AvailableReplicas == s.replicas && next.Replicas == s.replicas ||
		len(next.Conditions) != len(s.status.Conditions) ||
		next.AvailableReplicas < s.status.AvailableReplicas
}
