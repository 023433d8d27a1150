package job

import (
	"context"
	"encoding/json"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// orphans lets pods go that carry the finalizer although no Job will count them any more: theirs is gone or finished, or they have none.
type orphans struct{ c *Controller }

func (c *Controller) onPod(p, _ *core.Pod, wake func(object.Key)) {
	if hasFinalizer(p) && c.abandoned(p) {
		wake(object.KeyOf(p))
	}
}

// onJobGone wakes the pods of a Job that is gone or has come to its end.
func (c *Controller) onJobGone(e client.Event, wake func(object.Key)) {
	j := e.Object.(*batch.Job)
	if e.Type != client.Deleted && finished(j) == nil {
		return
	}
	for _, p := range client.Owned[core.Pod](c.deps.View, j) {
		if hasFinalizer(p) {
			wake(object.KeyOf(p))
		}
	}
}

func (c *Controller) abandoned(p *core.Pod) bool {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil {
		return true
	}
	if ref.Kind != "Job" {
		return false
	}
	j, ok := client.Lookup[batch.Job](c.deps.View, object.Key{Namespace: p.Namespace, Name: ref.Name})
	return !ok || j.UID != ref.UID || finished(j) != nil
}

// Reconcile takes the finalizer off one pod.
func (o orphans) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	d := o.c.deps
	p, ok := client.Lookup[core.Pod](d.View, key)
	if !ok || !hasFinalizer(p) || !o.c.abandoned(p) {
		return control.Done, nil
	}
	return control.Done, control.Apply(ctx, d.Client, d.Events, []control.Change{unfinalize(p)})
}

// withFinalizers makes patches that adopt a pod put the finalizer on too. One that releases a pod leaves it: orphans takes it off.
func withFinalizers(changes []control.Change) []control.Change {
	for i, ch := range changes {
		p, ok := ch.Object.(*core.Pod)
		if !ok || hasFinalizer(p) || metav1.GetControllerOfNoCopy(p) != nil {
			continue
		}
		var patch struct {
			Metadata map[string]any `json:"metadata"`
		}
		if err := json.Unmarshal(ch.Patch.Data, &patch); err != nil {
			continue // it is our own patch
		}
		patch.Metadata["finalizers"] = append(append([]string{}, p.Finalizers...), batch.JobTrackingFinalizer)
		changes[i].Patch = control.MergePatch(map[string]any{"metadata": patch.Metadata})
	}
	return changes
}
