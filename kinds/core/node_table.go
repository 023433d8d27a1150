package core

import (
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kinds"
)

var nodeColumns = kinds.Described(kinds.Columns("Name", "Status", "Roles", "Age", "Version", "Internal-IP+", "External-IP+", "OS-Image+",
	"Kernel-Version+", "Container-Runtime+"), "The status of the node", "The roles of the node", core.NodeSystemInfo{}.SwaggerDoc()["kubeletVersion"],
	core.NodeStatus{}.SwaggerDoc()["addresses"], core.NodeStatus{}.SwaggerDoc()["addresses"], core.NodeSystemInfo{}.SwaggerDoc()["osImage"],
	core.NodeSystemInfo{}.SwaggerDoc()["kernelVersion"], core.NodeSystemInfo{}.SwaggerDoc()["containerRuntimeVersion"])

func nodeRow(n *core.Node, now time.Time) []any {
	info := n.Status.NodeInfo
	kernel := orUnknown(info.KernelVersion)
	if info.Architecture != "" {
		kernel += " (" + info.Architecture + ")"
	}
	return []any{
		n.Name, nodeStatus(n), orNone(strings.Join(nodeRoles(n), ",")), kinds.Age(n.CreationTimestamp, now), info.KubeletVersion,
		nodeAddress(n, core.NodeInternalIP), nodeAddress(n, core.NodeExternalIP),
		orUnknown(info.OSImage), kernel, orUnknown(info.ContainerRuntimeVersion),
	}
}

// nodeStatus is "Ready", "NotReady" or "Unknown", with ",SchedulingDisabled" for a cordoned node.
func nodeStatus(n *core.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != core.NodeReady {
			continue
		}
		if status = "NotReady"; c.Status == core.ConditionTrue {
			status = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func nodeRoles(n *core.Node) []string {
	var roles []string
	for k, v := range n.Labels {
		if role, ok := strings.CutPrefix(k, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		} else if k == "kubernetes.io/role" && v != "" {
			roles = append(roles, v)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

func nodeAddress(n *core.Node, t core.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return "<none>"
}

func orNone(s string) string    { return or(s, "<none>") }
func orUnknown(s string) string { return or(s, "<unknown>") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
