package disruption

import (
	"context"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// stale takes back the condition DisruptionTarget of pods that stayed after all.
type stale struct{ deps control.Deps }

// targeted says whether a pod has been told that it goes, and does not go. What the kubelet says holds however long it takes.
func targeted(p *core.Pod) bool {
	c := control.Condition(p, core.DisruptionTarget)
	return c != nil && c.Status == core.ConditionTrue && c.Reason != core.PodReasonTerminationByKubelet &&
		p.DeletionTimestamp == nil && !control.Finished(p)
}

// Reconcile looks at one pod.
func (s stale) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	p, ok := client.Lookup[core.Pod](s.deps.View, key)
	if !ok || !targeted(p) {
		return control.Done, nil
	}
	now := time.Now()
	if end := control.Condition(p, core.DisruptionTarget).LastTransitionTime.Add(patience); now.Before(end) {
		return control.Until(end, now), nil
	}
	n := object.Clone(p)
	c := control.Condition(n, core.DisruptionTarget)
	*c = core.PodCondition{Type: core.DisruptionTarget, Status: core.ConditionFalse, ObservedGeneration: c.ObservedGeneration,
		LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))}
	return control.Done, control.Apply(ctx, s.deps.Client, s.deps.Events, []control.Change{{Op: control.Status, Object: n}})
}
