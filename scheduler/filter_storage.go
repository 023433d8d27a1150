package scheduler

import (
	"strings"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/client"
	"proa.dev/object"
)

// zoneLabels say where a volume of the old kind is.
var zoneLabels = []string{core.LabelTopologyZone, core.LabelTopologyRegion, core.LabelFailureDomainBetaZone, core.LabelFailureDomainBetaRegion}

func zonesOf(pv *core.PersistentVolume) (out map[string]string) {
	for _, l := range zoneLabels {
		if v, ok := pv.Labels[l]; ok {
			if out == nil {
				out = map[string]string{}
			}
			out[l] = v
		}
	}
	return out
}

// newLabel is what came after a label of the beta times.
var newLabel = map[string]string{
	core.LabelFailureDomainBetaZone: core.LabelTopologyZone, core.LabelFailureDomainBetaRegion: core.LabelTopologyRegion,
}

// zones keeps a pod in the zones of its volumes, where the node has zones.
func zones(k *class, n *node) *verdict {
	if k.claims == nil {
		return nil
	}
	zoned := false
	for _, l := range zoneLabels {
		_, has := n.obj.Labels[l]
		zoned = zoned || has
	}
	if !zoned {
		return nil
	}
	for _, r := range k.claims.bound {
		for label, values := range r.zones {
			have, ok := n.obj.Labels[label]
			if !ok {
				have = n.obj.Labels[newLabel[label]]
			}
			if !contains(strings.Split(values, "__"), have) {
				return k.no("node(s) had no available volume zone", byVolume|byNode, false)
			}
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// singles keeps a pod away from claims that one pod only may have, while another has them.
func singles(k *class, n *node) *verdict {
	if k.claims == nil || len(k.claims.single) == 0 {
		return nil
	}
	for _, key := range k.claims.single {
		for _, p := range n.pods {
			if !p.ghost && p.pod.UID != k.pod.UID && p.pod.Namespace == key.Namespace && namesClaim(p.pod, key.Name) {
				return k.no("node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod", byVolume, true)
			}
		}
	}
	if k.claims.inUse != nil && k.claims.inUse(n) {
		return k.no("node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod", byVolume, false)
	}
	return nil
}

func namesClaim(p *core.Pod, name string) bool {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == name || v.Ephemeral != nil && p.Name+"-"+v.Name == name {
			return true
		}
	}
	return false
}

// usedElsewhere looks once whether another pod anywhere has one of the claims that one pod only may have.
func (c *claims) usedElsewhere(all *cluster, pod *core.Pod) {
	for _, key := range c.single {
		for _, p := range all.pods {
			if !p.ghost && p.on != nil && p.pod.UID != pod.UID && p.pod.Namespace == key.Namespace && namesClaim(p.pod, key.Name) {
				c.inUse = func(n *node) bool { return p.on != n }
				return
			}
		}
	}
}

// limits keeps the volumes of each CSI driver on a node within what the driver can attach there.
func limits(k *class, n *node) *verdict {
	if k.claims == nil || len(k.claims.drivers) == 0 {
		return nil
	}
	about, ok := client.Lookup[storage.CSINode](k.claims.view, object.Key{Name: n.name})
	if !ok {
		return nil
	}
	for i := range about.Spec.Drivers {
		d := &about.Spec.Drivers[i]
		mine := k.claims.drivers[d.Name]
		if len(mine) == 0 || d.Allocatable == nil || d.Allocatable.Count == nil {
			continue
		}
		used := k.claims.attached(n, d.Name)
		more := 0
		for v := range mine {
			if !used[v] {
				more++
			}
		}
		if more > 0 && len(used)+more > int(*d.Allocatable.Count) {
			return k.no("node(s) exceed max volume count", byVolume, true)
		}
	}
	return nil
}

// attached are the volumes of a driver that the pods of a node have.
func (c *claims) attached(n *node, driver string) map[string]bool {
	used := map[string]bool{}
	for _, p := range n.pods {
		if p.ghost || !hasClaims(p.pod) {
			continue
		}
		for i := range p.pod.Spec.Volumes {
			v := &p.pod.Spec.Volumes[i]
			name := ""
			switch {
			case v.PersistentVolumeClaim != nil:
				name = v.PersistentVolumeClaim.ClaimName
			case v.Ephemeral != nil:
				name = p.pod.Name + "-" + v.Name
			default:
				continue
			}
			key := object.Key{Namespace: p.pod.Namespace, Name: name}
			claim, ok := client.Lookup[core.PersistentVolumeClaim](c.view, key)
			if !ok {
				continue
			}
			pv, ok := client.Lookup[core.PersistentVolume](c.view, object.Key{Name: claim.Spec.VolumeName})
			switch {
			case ok && pv.Spec.CSI != nil && pv.Spec.CSI.Driver == driver:
				used[pv.Spec.CSI.VolumeHandle] = true
			case !ok && claim.Spec.StorageClassName != nil:
				if class, ok := client.Lookup[storage.StorageClass](c.view, object.Key{Name: *claim.Spec.StorageClassName}); ok && class.Provisioner == driver {
					used[key.String()] = true
				}
			}
		}
	}
	return used
}

// room is free space that a CSI driver has for volumes of a class (CSIStorageCapacity).
type room struct {
	nodes labels.Selector
	most  *resource.Quantity // the largest volume
}

// capacities are those of a class, and whether its driver says them at all.
func capacities(view client.View, class *storage.StorageClass) (out []room, tracked bool) {
	d, ok := client.Lookup[storage.CSIDriver](view, object.Key{Name: class.Provisioner})
	if !ok || d.Spec.StorageCapacity == nil || !*d.Spec.StorageCapacity {
		return nil, false
	}
	for _, c := range client.ListOf[storage.CSIStorageCapacity](view, client.Select{}) {
		if c.StorageClassName != class.Name || c.NodeTopology == nil {
			continue
		}
		sel, err := metav1.LabelSelectorAsSelector(c.NodeTopology)
		if err != nil {
			continue // it says nothing of any node
		}
		most := c.Capacity
		if c.MaximumVolumeSize != nil {
			most = c.MaximumVolumeSize
		}
		if most != nil {
			out = append(out, room{sel, most})
		}
	}
	return out, true
}

// hasRoom says whether a volume for the claim can be made for a node, as far as its driver tells.
func (u *unbound) hasRoom(n *core.Node) bool {
	if !u.tracked {
		return true
	}
	want := u.claim.Spec.Resources.Requests[core.ResourceStorage]
	for _, r := range u.room {
		if r.nodes.Matches(labels.Set(n.Labels)) && r.most.Cmp(want) >= 0 {
			return true
		}
	}
	return false
}
