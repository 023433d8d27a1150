package admission

import (
	"context"
	"maps"
	"slices"
	"strings"

	authentication "k8s.io/api/authentication/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"proa.dev/apiserver/authn"
	"proa.dev/client"
	"proa.dev/object"
)

// nodeRestriction limits what node agents may write to what their own node needs, where that takes a look at the object; the rest is
// the node authoriser's.
func (s *Start) nodeRestriction(_ context.Context, r *Request) error {
	node, ok := strings.CutPrefix(r.User.Name, authn.NodePrefix)
	if !ok || r.Op == Connect || !slices.Contains(r.User.Groups, authn.NodesGroup) {
		return nil
	}
	switch {
	case r.Kind.Group == "" && r.Kind.Kind == "Pod":
		return s.nodePod(r, node)
	case r.Kind.Group == "" && r.Kind.Kind == "Node":
		return nodeNode(r, node)
	case r.Kind.Kind == "ServiceAccount" && r.Sub == "token":
		return s.nodeToken(r, node)
	case r.Kind.Kind == "Lease":
		l, _ := r.Object.(*coordination.Lease)
		if r.Key.Namespace != nodeLeaseNamespace {
			return r.Forbid("can only access leases in the %q system namespace", nodeLeaseNamespace)
		}
		if r.Op == Create && l != nil && l.Name != node || r.Op != Create && r.Key.Name != node {
			return r.Forbid("can only access node lease with the same name as the requesting node")
		}
	}
	return nil
}

func (s *Start) nodePod(r *Request, node string) error {
	switch {
	case r.Sub == "eviction":
		pod, ok := client.Lookup[core.Pod](s.view, r.Key)
		if ok && pod.Spec.NodeName != node {
			return r.Forbid("node %s can only evict pods with spec.nodeName set to itself", node)
		}
	case r.Sub == "status" && r.Op == Update:
		old, now := r.Old.(*core.Pod), r.Object.(*core.Pod)
		if old.Spec.NodeName != node {
			return r.Forbid("node %q can only update pod status for pods with spec.nodeName set to itself", node)
		}
		if !maps.Equal(old.Labels, now.Labels) {
			return r.Forbid("node %q cannot update labels through pod status", node)
		}
	case r.Sub != "":
		return r.Forbid("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", r.Sub)
	case r.Op == Delete:
		if r.Old.(*core.Pod).Spec.NodeName != node {
			return r.Forbid("node %q can only delete pods with spec.nodeName set to itself", node)
		}
	case r.Op == Create:
		return nodeMirror(r, node)
	default:
		return r.Forbid("unexpected operation %q, node %q can only create and delete mirror pods", r.Op, node)
	}
	return nil
}

// nodeMirror lets a node create the copy of a static pod, which refers to nothing.
func nodeMirror(r *Request, node string) error {
	pod := r.Object.(*core.Pod)
	if _, mirror := pod.Annotations[core.MirrorPodAnnotationKey]; !mirror {
		return r.Forbid("pod does not have %q annotation, node %q can only create mirror pods", core.MirrorPodAnnotationKey, node)
	}
	if pod.Spec.NodeName != node {
		return r.Forbid("node %q can only create pods with spec.nodeName set to itself", node)
	}
	if len(pod.OwnerReferences) > 1 {
		return r.Forbid("node %q can only create pods with a single owner reference set to itself", node)
	}
	for _, ref := range pod.OwnerReferences {
		if ref.APIVersion != "v1" || ref.Kind != "Node" || ref.Name != node {
			return r.Forbid("node %q can only create pods with an owner reference set to itself", node)
		}
	}
	for _, v := range pod.Spec.Volumes {
		if v.ConfigMap != nil || v.Secret != nil || v.PersistentVolumeClaim != nil || v.Projected != nil {
			return r.Forbid("node %q can not create pods that reference %s", node, "other objects")
		}
	}
	return nil
}

// nodeNode lets a node write its own Node, but not what the scheduler trusts to come from administrators.
func nodeNode(r *Request, node string) error {
	if r.Op != Create && r.Key.Name != node || r.Op == Create && r.Object.GetName() != node {
		return r.Forbid("node %q is not allowed to modify node %q", node, r.Key.Name)
	}
	if r.Op == Delete {
		return nil
	}
	now := r.Object.(*core.Node)
	old, _ := r.Old.(*core.Node)
	if old == nil {
		old = &core.Node{}
	} else if r.Sub == "" && !equality.Semantic.DeepEqual(old.Spec.Taints, now.Spec.Taints) {
		return r.Forbid("node %q is not allowed to modify taints", node)
	}
	var bad []string
	for k, v := range now.Labels {
		if was, had := old.Labels[k]; (!had || was != v) && !nodeMaySet(k) {
			bad = append(bad, k)
		}
	}
	for k := range old.Labels {
		if _, has := now.Labels[k]; !has && !nodeMaySet(k) {
			bad = append(bad, k)
		}
	}
	if len(bad) > 0 {
		slices.Sort(bad)
		return r.Forbid("is not allowed to modify labels: %s", strings.Join(bad, ", "))
	}
	return nil
}

// nodeMaySet says whether a label may come from the node itself: those outside kubernetes.io, and the well-known ones of kubelets.
func nodeMaySet(label string) bool {
	domain, _, ok := strings.Cut(label, "/")
	if !ok {
		return true
	}
	if domain == "node-restriction.kubernetes.io" || strings.HasSuffix(domain, ".node-restriction.kubernetes.io") {
		return false
	}
	in := func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }
	if !in("kubernetes.io") && !in("k8s.io") {
		return true
	}
	switch label {
	case core.LabelHostname, core.LabelTopologyZone, core.LabelTopologyRegion, core.LabelFailureDomainBetaZone, core.LabelFailureDomainBetaRegion,
		core.LabelInstanceType, core.LabelInstanceTypeStable, core.LabelOSStable, core.LabelArchStable, core.LabelWindowsBuild,
		"beta.kubernetes.io/os", "beta.kubernetes.io/arch":
		return true
	}
	return in("kubelet.kubernetes.io") || in("node.kubernetes.io")
}

// nodeToken lets a node ask for tokens that are bound to a pod that runs on it.
func (s *Start) nodeToken(r *Request, node string) error {
	req, ok := r.Object.(*authentication.TokenRequest)
	if !ok {
		return nil
	}
	ref := req.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return r.Forbid("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return r.Forbid("node requested token with a pod binding without a uid")
	}
	pod, ok := client.Lookup[core.Pod](s.view, object.Key{Namespace: r.Key.Namespace, Name: ref.Name})
	switch {
	case !ok:
		return r.Forbid("pod %q not found", ref.Name)
	case pod.UID != ref.UID:
		return r.Forbid("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	case pod.Spec.NodeName != node:
		return r.Forbid("node requested token bound to a pod scheduled on a different node")
	}
	return nil
}
