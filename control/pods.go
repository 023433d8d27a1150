package control

import (
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/object"
)

// NewPod is a pod of template, controlled by owner, whose name the API server completes.
func NewPod(template *core.PodTemplateSpec, owner object.Object) *core.Pod {
	t := template.DeepCopy()
	return &core.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			GenerateName:    NamePrefix(owner.GetName()),
			Labels:          t.Labels,
			Annotations:     t.Annotations,
			Finalizers:      t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{RefOf(owner)},
		},
		Spec: t.Spec,
	}
}

// NamePrefix is the prefix of the generated names of what belongs to an object. A name that ends with a dot or dash, cut off by its own
// generation, still gives valid names.
func NamePrefix(owner string) string {
	const longest = 253 - 1 - 5
	if len(owner) > longest {
		owner = strings.TrimRight(owner[:longest], "-.")
	}
	return owner + "-"
}

// CreatePod is the change that creates pod for owner, with the events that tell of it.
func CreatePod(pod *core.Pod, owner object.Object) Change {
	return Change{
		Op: Create, Object: pod,
		Said:    Note{On: owner, Reason: "SuccessfulCreate", Format: "Created pod: %[1]s"},
		Refused: Note{On: owner, Reason: "FailedCreate", Format: "Error creating: %[1]v"},
	}
}

// DeletePod is the change that deletes pod of owner.
func DeletePod(pod *core.Pod, owner object.Object) Change {
	return Change{
		Op: Delete, Object: pod,
		Said:    Note{On: owner, Reason: "SuccessfulDelete", Format: "Deleted pod: %[1]s"},
		Refused: Note{On: owner, Reason: "FailedDelete", Format: "Error deleting: %[1]v"},
	}
}

// Condition is the condition of that type, or nil.
func Condition(p *core.Pod, t core.PodConditionType) *core.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// Ready says whether the pod's condition Ready is true.
func Ready(p *core.Pod) bool {
	c := Condition(p, core.PodReady)
	return c != nil && c.Status == core.ConditionTrue
}

// Available says whether the pod has been Ready for minReady seconds; if it is Ready but not yet for so long, wait is what is left.
func Available(p *core.Pod, minReady int32, now time.Time) (ok bool, wait Again) {
	c := Condition(p, core.PodReady)
	if c == nil || c.Status != core.ConditionTrue {
		return false, Done
	}
	if minReady == 0 {
		return true, Done
	}
	if c.LastTransitionTime.IsZero() {
		return false, Done
	}
	if at := c.LastTransitionTime.Add(time.Duration(minReady) * time.Second); now.Before(at) {
		return false, Until(at, now)
	}
	return true, Done
}

// Finished says whether the pod has come to its end: Succeeded or Failed.
func Finished(p *core.Pod) bool {
	return p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed
}

// Active says whether the pod runs or may run, and is not being deleted.
func Active(p *core.Pod) bool { return !Finished(p) && p.DeletionTimestamp == nil }
