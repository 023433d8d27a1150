package admission

import (
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"proa.dev/client"
	"proa.dev/object"
)

// driverNames says whether the driver of a volume of a pod asks for tokens for the audience.
func (s *Start) driverNames(pod *core.Pod, v *core.Volume, audience string) bool {
	driver, claim := "", ""
	switch {
	case v.CSI != nil:
		driver = v.CSI.Driver
	case v.PersistentVolumeClaim != nil:
		claim = v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		claim = pod.Name + "-" + v.Name
	}
	if claim != "" {
		pvc, ok := client.Lookup[core.PersistentVolumeClaim](s.view, object.Key{Namespace: pod.Namespace, Name: claim})
		if !ok {
			return false
		}
		if pv, ok := client.Lookup[core.PersistentVolume](s.view, object.Key{Name: pvc.Spec.VolumeName}); ok && pv.Spec.CSI != nil {
			driver = pv.Spec.CSI.Driver
		}
	}
	d, ok := client.Lookup[storage.CSIDriver](s.view, object.Key{Name: driver})
	return ok && slices.ContainsFunc(d.Spec.TokenRequests, func(t storage.TokenRequest) bool { return t.Audience == audience })
}

// nodeNode lets a node write its own Node, but not what the scheduler trusts to come from administrators.
func nodeNode(r *Request, node string) error {
	name := r.Key.Name
	if r.Op == Create {
		name = r.Object.GetName()
	}
	if name != node {
		return r.Forbid("node %q is not allowed to modify node %q", node, name)
	}
	if r.Op != Create && r.Op != Update {
		return nil
	}
	now := r.Object.(*core.Node)
	if r.Op == Create {
		if now.Spec.ConfigSource != nil {
			return r.Forbid("node %q is not allowed to create pods with a non-nil configSource", node)
		}
		if bad := badLabels(now.Labels, nil); bad != "" {
			return r.Forbid("node %q is not allowed to set the following labels: %s", node, bad)
		}
		return nil
	}
	old := r.Old.(*core.Node)
	if now.Spec.ConfigSource != nil && !equality.Semantic.DeepEqual(now.Spec.ConfigSource, old.Spec.ConfigSource) {
		return r.Forbid("node %q is not allowed to update configSource to a new non-nil configSource", node)
	}
	// A report of the status stores no taints, and a node need not know its newest to report.
	if r.Sub != "status" && !equality.Semantic.DeepEqual(old.Spec.Taints, now.Spec.Taints) {
		return r.Forbid("node %q is not allowed to modify taints", node)
	}
	if !equality.Semantic.DeepEqual(old.OwnerReferences, now.OwnerReferences) {
		return r.Forbid("node %q is not allowed to modify ownerReferences", node)
	}
	if bad := badLabels(now.Labels, old.Labels); bad != "" {
		return r.Forbid("is not allowed to modify labels: %s", bad)
	}
	return nil
}

// badLabels lists the labels that differ and that no node may set.
func badLabels(now, old map[string]string) string {
	var bad []string
	for k, v := range now {
		if was, had := old[k]; (!had || was != v) && !nodeMaySet(k) {
			bad = append(bad, k)
		}
	}
	for k := range old {
		if _, has := now[k]; !has && !nodeMaySet(k) {
			bad = append(bad, k)
		}
	}
	slices.Sort(bad)
	return strings.Join(bad, ", ")
}

// nodeMaySet says whether a label may come from the node itself: those outside kubernetes.io, and the well-known ones of kubelets.
func nodeMaySet(label string) bool {
	domain, _, ok := strings.Cut(label, "/")
	if !ok {
		return true
	}
	in := func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }
	if in(core.LabelNamespaceNodeRestriction) {
		return false
	}
	if !in("kubernetes.io") && !in("k8s.io") {
		return true
	}
	switch label {
	case core.LabelHostname, core.LabelTopologyZone, core.LabelTopologyRegion, core.LabelFailureDomainBetaZone, core.LabelFailureDomainBetaRegion,
		core.LabelInstanceType, core.LabelInstanceTypeStable, core.LabelOSStable, core.LabelArchStable, core.LabelWindowsBuild,
		"beta.kubernetes.io/os", "beta.kubernetes.io/arch":
		return true
	}
	return in(core.LabelNamespaceSuffixKubelet) || in(core.LabelNamespaceSuffixNode)
}
