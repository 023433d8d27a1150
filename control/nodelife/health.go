package nodelife

import (
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
	"proa.dev/object"
)

const (
	// grace is how long a node counts as living after its last sign.
	grace = 50 * time.Second
	// silence is when a node has missed more than one sign of life: leases are renewed every 10 s.
	silence = 25 * time.Second
	// startup is the same for a node that has never said anything.
	startup = 60 * time.Second
)

// monitored are the conditions that only a living kubelet can vouch for.
var monitored = []core.NodeConditionType{core.NodeReady, core.NodeMemoryPressure, core.NodeDiskPressure, core.NodePIDPressure}

func condition(n *core.Node, t core.NodeConditionType) *core.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// planHealth is the node with its conditions Unknown if its last sign of life, seen, is too old; nil where nothing is to change. again
// is when to look again.
func planHealth(n *core.Node, seen, now time.Time) (*core.Node, control.Again) {
	patience := grace
	if condition(n, core.NodeReady) == nil {
		patience = startup
	}
	if end := seen.Add(patience); now.Before(end) {
		return nil, control.Until(end, now)
	}
	next, changed := object.Clone(n), false
	for _, t := range monitored {
		c := condition(next, t)
		if c == nil {
			next.Status.Conditions = append(next.Status.Conditions, core.NodeCondition{
				Type: t, Status: core.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: n.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
			})
			changed = true
			continue
		}
		if c.Status != core.ConditionUnknown {
			c.Status, c.Reason, c.Message = core.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastTransitionTime = metav1.NewTime(now)
			changed = true
		}
	}
	if !changed {
		return nil, control.Done // its next sign of life wakes us
	}
	return next, control.Done
}

// notReady is a pod of a bad node with its condition Ready false, so that no Service sends anything there; nil if it is so already.
func notReady(p *core.Pod, now time.Time) *core.Pod {
	c := control.Condition(p, core.PodReady)
	if c == nil || c.Status != core.ConditionTrue {
		return nil
	}
	n := object.Clone(p)
	c = control.Condition(n, core.PodReady)
	c.Status, c.LastTransitionTime = core.ConditionFalse, metav1.NewTime(now)
	return n
}
