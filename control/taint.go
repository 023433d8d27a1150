package control

import (
	"strconv"

	core "k8s.io/api/core/v1"
)

// Toleration is the first of ts that tolerates taint, or nil.
func Toleration(ts []core.Toleration, taint *core.Taint) *core.Toleration {
	for i := range ts {
		if tolerates(&ts[i], taint) {
			return &ts[i]
		}
	}
	return nil
}

// tolerates follows the rules of core/v1 Toleration: an empty effect or key matches all of them.
func tolerates(t *core.Toleration, taint *core.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case "", core.TolerationOpEqual:
		return t.Value == taint.Value
	case core.TolerationOpExists:
		return true
	case core.TolerationOpLt, core.TolerationOpGt:
		mine, err := strconv.ParseInt(t.Value, 10, 64)
		if err != nil {
			return false
		}
		its, err := strconv.ParseInt(taint.Value, 10, 64)
		if err != nil {
			return false
		}
		if t.Operator == core.TolerationOpLt {
			return its < mine
		}
		return its > mine
	}
	return false
}

// NodeReady is the status of a node's condition Ready, Unknown where there is none.
func NodeReady(n *core.Node) core.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == core.NodeReady {
			return c.Status
		}
	}
	return core.ConditionUnknown
}

// SetPodCondition sets a condition of st and says whether that changed anything.
func SetPodCondition(st *core.PodStatus, c core.PodCondition) bool {
	for i, have := range st.Conditions {
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		c.LastProbeTime, c.ObservedGeneration = have.LastProbeTime, have.ObservedGeneration
		if have == c {
			return false
		}
		st.Conditions[i] = c
		return true
	}
	st.Conditions = append(st.Conditions, c)
	return true
}
