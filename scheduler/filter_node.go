package scheduler

import (
	core "k8s.io/api/core/v1"
)

// unschedulable keeps pods off nodes that are cordoned, unless they tolerate the taint that stands for it.
func unschedulable(k *class, n *node) *verdict {
	if !n.obj.Spec.Unschedulable ||
		tolerates(k.pod.Spec.Tolerations, &core.Taint{Key: core.TaintNodeUnschedulable, Effect: core.TaintEffectNoSchedule}) {
		return nil
	}
	return k.no("node(s) were unschedulable", byNode, false)
}

// nodeName is for pods whose creator names the node and leaves the rest to the scheduler.
func nodeName(k *class, n *node) *verdict {
	if want := k.pod.Spec.NodeName; want == "" || want == n.name {
		return nil
	}
	return k.no("node(s) didn't match the requested node name", byNode, false)
}

// taints keeps pods off nodes with a taint that they do not tolerate.
func taints(k *class, n *node) *verdict {
	for i := range n.obj.Spec.Taints {
		t := &n.obj.Spec.Taints[i]
		if t.Effect != core.TaintEffectNoSchedule && t.Effect != core.TaintEffectNoExecute || tolerates(k.pod.Spec.Tolerations, t) {
			continue
		}
		return k.no("node(s) had untolerated taint {"+t.Key+": "+t.Value+"}", byNode, false)
	}
	return nil
}

// nodeAffinity is nodeSelector and required node affinity.
func nodeAffinity(k *class, n *node) *verdict {
	if k.selects(n) {
		return nil
	}
	return k.no("node(s) didn't match Pod's node affinity/selector", byNode, false)
}

// selects says whether the pod's node selector and affinity take the node. A malformed one takes none.
func (k *class) selects(n *node) bool {
	if !k.choosy {
		return true
	}
	ok, err := k.required.Match(n.obj)
	return ok && err == nil
}
