package scheduler

import (
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Reasons of topology spread.
const (
	noSpread = "node(s) didn't match pod topology spread constraints"
	noLabel  = noSpread + " (missing required label)"
)

// spreadRule is one topology spread constraint.
type spreadRule struct {
	maxSkew    int64
	minDomains int
	keys       []string // of all hard, or all soft, constraints: a node without one of them does not count
	selected   bool     // only nodes that the pod selects count
	untainted  bool     // only nodes whose taints the pod tolerates count
}

// includes says whether a node counts.
func (r *spreadRule) includes(k *class, n *node, selected bool) bool {
	if r.selected && !selected || r.untainted && taints(k, n) != nil {
		return false
	}
	for _, key := range r.keys {
		if _, ok := n.obj.Labels[key]; !ok {
			return false
		}
	}
	return true
}

// spreadCounters makes the counters of a pod's constraints, or, where it has none and belongs to a controller, of the defaults of
// Kubernetes: over hosts and zones if possible.
func spreadCounters(k *class, add func(*counter)) {
	constraints := k.pod.Spec.TopologySpreadConstraints
	if len(constraints) == 0 {
		if k.set.owner == "" || !spreadByDefault(k.pod) {
			return
		}
		for key, skew := range map[string]int64{core.LabelHostname: 3, core.LabelTopologyZone: 5} {
			t := &counter{kind: spreadSoft, key: key, self: 1, rule: &spreadRule{maxSkew: skew, minDomains: 1, selected: true}}
			t.on = func(n *node) (pods int32) {
				for s, many := range n.sets {
					if s.owner == k.set.owner && s.namespace == k.set.namespace && !s.dying {
						pods += int32(many)
					}
				}
				return pods
			}
			add(t)
		}
		return
	}
	keys := map[counterKind][]string{}
	for i := range constraints {
		kind := kindOf(&constraints[i])
		keys[kind] = append(keys[kind], constraints[i].TopologyKey)
	}
	for i := range constraints {
		c := &constraints[i]
		kind := kindOf(c)
		sel := withLabelKeys(selector(c.LabelSelector), k.pod.Labels, c.MatchLabelKeys, nil)
		t := &counter{kind: kind, key: c.TopologyKey, rule: &spreadRule{
			maxSkew: int64(c.MaxSkew), minDomains: 1, keys: keys[kind],
			selected:  c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == core.NodeInclusionPolicyHonor,
			untainted: c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == core.NodeInclusionPolicyHonor,
		}}
		if c.MinDomains != nil {
			t.rule.minDomains = int(*c.MinDomains)
		}
		if sel.Matches(labels.Set(k.pod.Labels)) {
			t.self = 1
		}
		memo := map[*labelSet]bool{}
		t.on = func(n *node) (pods int32) {
			for s, many := range n.sets {
				yes, ok := memo[s]
				if !ok {
					yes = s.namespace == k.set.namespace && !s.dying && sel.Matches(labels.Set(s.labels))
					memo[s] = yes
				}
				if yes {
					pods += int32(many)
				}
			}
			return pods
		}
		add(t)
	}
}

// spreadByDefault is for pods whose controller keeps replicas of one thing.
func spreadByDefault(pod *core.Pod) bool {
	for i := range pod.OwnerReferences {
		r := &pod.OwnerReferences[i]
		if r.Controller != nil && *r.Controller {
			return r.Kind == "ReplicaSet" || r.Kind == "ReplicationController" || r.Kind == "StatefulSet"
		}
	}
	return false
}

func kindOf(c *core.TopologySpreadConstraint) counterKind {
	if c.WhenUnsatisfiable == core.DoNotSchedule {
		return spreadHard
	}
	return spreadSoft
}

// spreads says whether the pod may go to the group of n by one hard constraint.
func (t *counter) spreads(k *class, n *node) *verdict {
	if _, ok := n.obj.Labels[t.key]; !ok {
		return k.no(noLabel, bySpread|byNode, false)
	}
	pods, ok := t.pods(n)
	if !ok {
		return nil // not a node that the pod could go to: another filter says why
	}
	least, domains := t.least()
	if domains < t.rule.minDomains {
		least = 0
	}
	if pods+int64(t.self)-least > t.rule.maxSkew {
		return k.no(noSpread, bySpread, true)
	}
	return nil
}
