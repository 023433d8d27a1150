package core

import (
	"strconv"

	core "k8s.io/api/core/v1"

	"proa.dev/kinds"
	"proa.dev/kinds/core/resources"
)

// Node is v1 Node: a machine that runs pods.
var Node = kinds.Def[core.Node, *core.Node]{
	Path:         "v1/nodes",
	Cluster:      true,
	Short:        []string{"no"},
	Status:       true,
	CreateStatus: true,
	Storage:      "minions",
	Subs:         []kinds.Sub{{Name: "proxy", GVK: "v1/NodeProxyOptions", Verbs: proxyVerbs, Connecting: true}},
	Default:      defaultNode,
	Prepare: func(n, old *core.Node) {
		if old == nil || old.Spec.ConfigSource == nil { // what nothing reads any more
			n.Spec.ConfigSource = nil
		}
		if old == nil {
			n.Status.Config = nil
		}
	},
	PrepareStatus: func(n, old *core.Node) {
		if old.Status.Config == nil {
			n.Status.Config = nil
		}
	},
	Warn: func(n, old *core.Node) (out []string) {
		if n.Spec.DoNotUseExternalID != "" {
			out = append(out, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
		}
		return out
	},
	Validate: validateNode, ValidateUpdate: validateNodeUpdate, ValidateStatus: validateNodeStatus,
	Fields: func(n *core.Node) map[string]string {
		return map[string]string{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
	},
	Columns: nodeColumns,
	Row:     nodeRow,
}

var proxyVerbs = []string{"create", "delete", "get", "patch", "update"}

func defaultNode(n *core.Node) {
	if one := n.Spec.PodCIDR; one != "" && (len(n.Spec.PodCIDRs) == 0 || n.Spec.PodCIDRs[0] != one) {
		n.Spec.PodCIDRs = []string{one} // clients that know of one only have the say
	}
	if len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
	resources.RoundUp(n.Status.Capacity)
	resources.RoundUp(n.Status.Allocatable)
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
}
