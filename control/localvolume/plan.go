package localvolume

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client/record"
	"proa.dev/control"
	kinds "proa.dev/kinds/storage"
	"proa.dev/object"
)

const (
	// finalizer keeps a volume's object until its files are gone.
	finalizer     = kinds.LocalDriver + "/files"
	selectedNode  = "volume.kubernetes.io/selected-node"
	provisioner   = "volume.kubernetes.io/storage-provisioner"
	provisionedBy = "pv.kubernetes.io/provisioned-by"
	capacity      = "capacity" // parameter of a class; "enforced" refuses nodes that cannot bound volumes
)

// Class is the storage class that there is from the start.
const Class = "local"

// planClaim makes the volume of a claim whose node was chosen, or says why not. from is what it is to be a copy of; nil: it begins empty.
func planClaim(c *core.PersistentVolumeClaim, class *storage.StorageClass, n *core.Node, found *core.PersistentVolume, from *origin) []control.Change {
	if c.Spec.VolumeName != "" || found != nil || c.DeletionTimestamp != nil || class == nil || class.Provisioner != kinds.LocalDriver ||
		c.Annotations[provisioner] != kinds.LocalDriver || c.Annotations[selectedNode] == "" {
		return nil
	}
	refuse := func(why string, elsewhere bool) []control.Change {
		ch := control.Change{Op: tellOnly, Said: control.Note{On: c, Type: core.EventTypeWarning, Reason: "ProvisioningFailed", Format: fmt.Sprintf(
			"failed to provision volume with StorageClass %q: %s", class.Name, why)}}
		if elsewhere { // the scheduler chooses again
			o := object.Clone(c)
			delete(o.Annotations, selectedNode)
			ch.Op, ch.Object = control.Update, o
		}
		return []control.Change{ch}
	}
	enforced := class.Parameters[capacity] == "enforced"
	switch {
	case n == nil:
		return refuse(fmt.Sprintf("node %s is gone", c.Annotations[selectedNode]), true)
	case n.Annotations[kinds.LocalQuota] == "":
		return refuse(fmt.Sprintf("node %s has no local volumes", n.Name), true)
	case enforced && n.Annotations[kinds.LocalQuota] == "none":
		return refuse(fmt.Sprintf("the file system of node %s has no project quotas, so that no size can be enforced", n.Name), true)
	}
	if why := unsupported(c); why != "" {
		return refuse(why, false)
	}
	if from != nil {
		if why, elsewhere := from.unfit(c, n); why != "" {
			return refuse(why, elsewhere)
		}
		changes, made, why := planCopy(c, n, from, enforced)
		switch {
		case why != "":
			return refuse(why, false) // the node tries again
		case !made:
			return changes
		}
	}
	changes := []control.Change{{Op: control.Create, Object: volumeFor(c, class, n, enforced), Said: control.Note{
		On: c, Reason: "ProvisioningSucceeded", Format: "Successfully provisioned volume %[1]s",
	}}}
	if n.Annotations[kinds.LocalQuota] == "none" {
		size := c.Spec.Resources.Requests[core.ResourceStorage]
		changes = append(changes, control.Change{Op: tellOnly, Said: control.Note{On: c, Type: core.EventTypeWarning, Reason: "CapacityNotEnforced", Format: fmt.Sprintf(
			"the file system of node %s has no project quotas: the volume may take more than %s", n.Name, size.String())}})
	}
	return changes
}

// tellOnly marks a change of which only the note counts.
const tellOnly control.Op = "tell"

// unsupported says what a claim asks for that no local volume can be, or "".
func unsupported(c *core.PersistentVolumeClaim) string {
	switch {
	case c.Spec.VolumeMode != nil && *c.Spec.VolumeMode == core.PersistentVolumeBlock:
		return "block volumes are not supported: a local volume is a directory"
	case (c.Spec.DataSource != nil || c.Spec.DataSourceRef != nil) && cloned(c) == "":
		return "a local volume begins empty, or as a copy of another claim's"
	case c.Spec.Selector != nil:
		return "claim Selector is not supported"
	}
	for _, m := range c.Spec.AccessModes {
		if m != core.ReadWriteOnce && m != core.ReadWriteOncePod {
			return fmt.Sprintf("access mode %s is not supported: a local volume can be used on its own node only", m)
		}
	}
	return ""
}

func volumeName(c *core.PersistentVolumeClaim) string { return "pvc-" + string(c.UID) }

func volumeFor(c *core.PersistentVolumeClaim, class *storage.StorageClass, n *core.Node, enforced bool) *core.PersistentVolume {
	size, ref := c.Spec.Resources.Requests[core.ResourceStorage], record.Reference(c)
	host := nameOnDisk(n)
	attributes := map[string]string{kinds.LocalSize: strconv.FormatInt(size.Value(), 10)}
	if enforced {
		attributes[kinds.LocalEnforce] = "true"
	}
	return &core.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: volumeName(c), Annotations: map[string]string{provisionedBy: kinds.LocalDriver}, Finalizers: []string{finalizer}},
		Spec: core.PersistentVolumeSpec{
			Capacity: core.ResourceList{core.ResourceStorage: size}, AccessModes: c.Spec.AccessModes, ClaimRef: &ref, StorageClassName: class.Name,
			PersistentVolumeReclaimPolicy: control.Or(class.ReclaimPolicy, core.PersistentVolumeReclaimDelete), VolumeMode: c.Spec.VolumeMode,
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{host}}},
			}}}},
			PersistentVolumeSource: core.PersistentVolumeSource{CSI: &core.CSIPersistentVolumeSource{
				Driver: kinds.LocalDriver, VolumeHandle: volumeName(c), VolumeAttributes: attributes,
			}},
		},
	}
}

// planSize lets a volume become as large as its claim asks for; its node sees to the rest when a pod has it.
func planSize(c *core.PersistentVolumeClaim, v *core.PersistentVolume) []control.Change {
	want, have, shown := c.Spec.Resources.Requests[core.ResourceStorage], v.Spec.Capacity[core.ResourceStorage], c.Status.Capacity[core.ResourceStorage]
	if c.Status.Phase != core.ClaimBound || c.DeletionTimestamp != nil {
		return nil
	}
	if want.Cmp(have) > 0 {
		n := object.Clone(v)
		n.Spec.Capacity[core.ResourceStorage] = want
		return []control.Change{{Op: control.Update, Object: n}} // which wakes us again
	}
	if have.Cmp(shown) <= 0 || slices.ContainsFunc(c.Status.Conditions, func(c core.PersistentVolumeClaimCondition) bool {
		return c.Type == core.PersistentVolumeClaimFileSystemResizePending
	}) {
		return nil
	}
	n := object.Clone(c)
	n.Status.Conditions = append(n.Status.Conditions, core.PersistentVolumeClaimCondition{
		Type: core.PersistentVolumeClaimFileSystemResizePending, Status: core.ConditionTrue, LastTransitionTime: metav1.Now(),
		Message: "Waiting for user to (re-)start a pod to finish file system resize of volume on node.",
	})
	return []control.Change{{Op: control.Status, Object: n}}
}

// planVolume takes a released volume back. find finds its node, nil if that is gone.
func planVolume(v *core.PersistentVolume, find func(host string) *core.Node) []control.Change {
	policy := v.Spec.PersistentVolumeReclaimPolicy
	if v.DeletionTimestamp == nil {
		if policy == core.PersistentVolumeReclaimDelete && v.Status.Phase == core.VolumeReleased {
			return []control.Change{{Op: control.Delete, Object: v}}
		}
		return nil
	}
	if !slices.Contains(v.Finalizers, finalizer) || v.Status.Phase == core.VolumeBound {
		return nil
	}
	free := object.Clone(v)
	free.Finalizers = slices.DeleteFunc(free.Finalizers, func(f string) bool { return f == finalizer })
	forget := []control.Change{{Op: control.Update, Object: free}}
	if policy != core.PersistentVolumeReclaimDelete {
		return forget // the files stay for people
	}
	n, handle := find(hostOf(v)), v.Spec.CSI.VolumeHandle
	switch {
	case n == nil:
		return forget // with its disk
	case copying(n, handle):
		return nil
	case slices.Contains(kinds.Handles(n, kinds.LocalRemoved), handle):
		return forget
	case slices.Contains(kinds.Handles(n, kinds.LocalRemove), handle):
		return nil
	}
	return []control.Change{annotate(n, kinds.LocalRemove, append(kinds.Handles(n, kinds.LocalRemove), handle))}
}

func hostOf(v *core.PersistentVolume) string {
	if a := v.Spec.NodeAffinity; a != nil && a.Required != nil {
		for _, t := range a.Required.NodeSelectorTerms {
			for _, e := range t.MatchExpressions {
				if e.Key == core.LabelHostname && len(e.Values) == 1 {
					return e.Values[0]
				}
			}
		}
	}
	return ""
}

// planNode forgets the orders whose volumes are gone.
func planNode(n *core.Node, there func(handle string) bool) []control.Change {
	asked := kinds.Handles(n, kinds.LocalRemove)
	left := slices.DeleteFunc(slices.Clone(asked), func(h string) bool { return !there(h) })
	if len(left) == len(asked) {
		return nil
	}
	return []control.Change{annotate(n, kinds.LocalRemove, left)}
}

// annotate writes a list of handles to a node that is still as it was seen.
func annotate(n *core.Node, key string, handles []string) control.Change {
	if len(handles) == 0 {
		return patchNode(n, key, nil)
	}
	return patchNode(n, key, strings.Join(handles, ","))
}
