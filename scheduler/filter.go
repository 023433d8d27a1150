package scheduler

import (
	core "k8s.io/api/core/v1"
)

// trouble is a set of causes for which a pod fits nowhere, and of changes that may end them.
type trouble uint8

// The causes.
const (
	byNode      trouble = 1 << iota // name, selector, taints, unschedulable
	byResources                     // requests and the number of pods
	byPorts
	byAffinity // rules about other pods
	bySpread
	byVolume
	byPreemption // victims are on their way out
	byDevices    // claims, slices and classes of devices
	anything     = byNode | byResources | byPorts | byAffinity | bySpread | byVolume | byPreemption | byDevices
)

// verdict is why a node does not fit; nil if it does. Verdicts are shared: most nodes that do not fit do so for the same reasons.
type verdict struct {
	reasons []string // as Kubernetes words them
	cause   trouble
	// evict says that the removal of other pods could make the node fit.
	evict bool
}

// filter is one rule about a pod and a node, without other nodes. It answers nil where the pod fits.
type filter struct {
	name  string
	check func(*class, *node) *verdict
}

// filters are asked in this order, which is that of Kubernetes; the first that objects decides.
var filters = []filter{
	{"NodeUnschedulable", unschedulable},
	{"NodeName", nodeName},
	{"TaintToleration", taints},
	{"NodeAffinity", nodeAffinity},
	{"NodePorts", ports},
	{"NodeResourcesFit", fits},
	{"VolumeRestrictions", singles},
	{"NodeVolumeLimits", limits},
	{"VolumeBinding", volumes},
	{"VolumeZone", zones},
	{"DynamicResources", claimable},
}

// judge asks all filters about a node.
func (k *class) judge(n *node) *verdict {
	for i := range filters {
		if v := filters[i].check(k, n); v != nil {
			return v
		}
	}
	return nil
}

// no makes the verdict for one reason, once per class.
func (k *class) no(reason string, cause trouble, evict bool) *verdict {
	if v := k.verdicts[reason]; v != nil {
		return v
	}
	v := &verdict{reasons: []string{reason}, cause: cause, evict: evict}
	k.verdicts[reason] = v
	return v
}

// tolerates says whether a pod may be where the taint is.
func tolerates(tolerations []core.Toleration, t *core.Taint) bool {
	for i := range tolerations {
		if tolerationMatches(&tolerations[i], t) {
			return true
		}
	}
	return false
}

func tolerationMatches(tol *core.Toleration, t *core.Taint) bool {
	if tol.Effect != "" && tol.Effect != t.Effect || tol.Key != "" && tol.Key != t.Key {
		return false
	}
	switch tol.Operator {
	case "", core.TolerationOpEqual:
		return tol.Value == t.Value
	case core.TolerationOpExists:
		return true
	}
	return false
}
