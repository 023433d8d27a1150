package pod

import (
	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/kubelet/spec"
	"proa.dev/object"
)

// recursive says whether a mount of the pod asks to be read-only with all below it, and the runtime can do that for its handler: the node
// tells of that.
func (d *Deps) recursive(pod *core.Pod) bool {
	if !wantsRecursive(pod) {
		return false
	}
	node, ok := client.Lookup[core.Node](d.View, object.Key{Name: d.Node.Name})
	handler, err := d.handler(pod)
	if !ok || err != nil {
		return false
	}
	for _, h := range node.Status.RuntimeHandlers {
		if f := h.Features; h.Name == handler && f != nil && f.RecursiveReadOnlyMounts != nil {
			return *f.RecursiveReadOnlyMounts
		}
	}
	return false
}

func wantsRecursive(pod *core.Pod) bool {
	for _, list := range [][]core.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if spec.WantsRecursiveReadOnly(&list[i]) {
				return true
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if spec.WantsRecursiveReadOnly((*core.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)) {
			return true
		}
	}
	return false
}

// dropsGroups says whether the groups of the image's user can be kept from containers on a node, as a policy Strict wants. A node that tells
// nothing of itself yet is taken to do so.
func dropsGroups(node *core.Node) bool {
	if node.Status.NodeInfo.ContainerRuntimeVersion == "" {
		return true
	}
	f := node.Status.Features
	return f != nil && f.SupplementalGroupsPolicy != nil && *f.SupplementalGroupsPolicy
}

func wantsDroppedGroups(pod *core.Pod) bool {
	s := pod.Spec.SecurityContext
	return s != nil && s.SupplementalGroupsPolicy != nil && *s.SupplementalGroupsPolicy == core.SupplementalGroupsPolicyStrict
}
