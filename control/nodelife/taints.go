package nodelife

import (
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/object"
)

// ours are the taints that follow from a node's conditions and spec.
func ours(t core.Taint) bool {
	switch t.Key {
	case core.TaintNodeNotReady, core.TaintNodeUnreachable:
		return t.Effect == core.TaintEffectNoSchedule || t.Effect == core.TaintEffectNoExecute
	case core.TaintNodeMemoryPressure, core.TaintNodeDiskPressure, core.TaintNodePIDPressure, core.TaintNodeNetworkUnavailable,
		core.TaintNodeUnschedulable:
		return t.Effect == core.TaintEffectNoSchedule
	}
	return false
}

// wantTaints is what n is to be tainted with; evict says whether pods may be driven off bad nodes now.
func wantTaints(n *core.Node, evict bool) []core.Taint {
	var out []core.Taint
	add := func(key string, effect core.TaintEffect) { out = append(out, core.Taint{Key: key, Effect: effect}) }
	if n.Spec.Unschedulable {
		add(core.TaintNodeUnschedulable, core.TaintEffectNoSchedule)
	}
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type == core.NodeReady && c.Status != core.ConditionTrue:
			key := core.TaintNodeNotReady
			if c.Status == core.ConditionUnknown {
				key = core.TaintNodeUnreachable
			}
			add(key, core.TaintEffectNoSchedule)
			if evict {
				add(key, core.TaintEffectNoExecute)
			}
		case c.Status != core.ConditionTrue:
		case c.Type == core.NodeMemoryPressure:
			add(core.TaintNodeMemoryPressure, core.TaintEffectNoSchedule)
		case c.Type == core.NodeDiskPressure:
			add(core.TaintNodeDiskPressure, core.TaintEffectNoSchedule)
		case c.Type == core.NodePIDPressure:
			add(core.TaintNodePIDPressure, core.TaintEffectNoSchedule)
		case c.Type == core.NodeNetworkUnavailable:
			add(core.TaintNodeNetworkUnavailable, core.TaintEffectNoSchedule)
		}
	}
	return out
}

// planTaints is the node with the taints that it should have, or nil where it has them. Taints of others stay, in their order.
func planTaints(n *core.Node, evict bool, now time.Time) *core.Node {
	want := wantTaints(n, evict)
	var taints []core.Taint
	changed := false
	for _, t := range n.Spec.Taints {
		i := slices.IndexFunc(want, func(w core.Taint) bool { return w.MatchTaint(&t) })
		switch {
		case !ours(t):
			taints = append(taints, t)
		case t.Key == core.TaintNodeNotReady && t.Effect == core.TaintEffectNoExecute && condition(n, core.NodeReady) == nil:
			taints = append(taints, t) // it has not said yet whether it is ready; to keep new pods off takes a condition that says so
		case i >= 0:
			taints = append(taints, t) // with the time that it was added
			want = slices.Delete(want, i, i+1)
		default:
			changed = true
		}
	}
	for _, w := range want {
		w.TimeAdded = new(metav1.NewTime(now))
		taints = append(taints, w)
		changed = true
	}
	if !changed {
		return nil
	}
	next := object.Clone(n)
	next.Spec.Taints = taints
	return next
}

// zoneOf is the failure domain of a node.
func zoneOf(n *core.Node) string {
	return n.Labels[core.LabelTopologyRegion] + "/" + n.Labels[core.LabelTopologyZone]
}

const (
	// unhealthyShare of the nodes of a zone, and more than two, make the zone disrupted.
	unhealthyShare = 0.55
)

// mayEvict says of each zone whether pods may be driven off its bad nodes. Where all nodes are bad, or most of a zone, it is more likely
// that the network or this process is at fault. silent says of a node that counts as ready that it has missed its last signs of life: those
// that fall silent together must not be judged one after the other.
func mayEvict(nodes []*core.Node, silent func(name string) bool) map[string]bool {
	all, bad := map[string]int{}, map[string]int{}
	anyGood := false
	for _, n := range nodes {
		zone := zoneOf(n)
		all[zone]++
		switch c := condition(n, core.NodeReady); {
		case c == nil: // has not reported yet: neither
		case c.Status == core.ConditionTrue && !silent(n.Name):
			anyGood = true
		default:
			bad[zone]++
		}
	}
	out := map[string]bool{}
	for zone, n := range all {
		disrupted := bad[zone] > 2 && float64(bad[zone]) >= unhealthyShare*float64(n)
		// a zone that is wholly bad while others are not is a zone that is down
		out[zone] = anyGood && (!disrupted || bad[zone] == n)
	}
	return out
}
