package volumebind

import (
	"fmt"
	"reflect"
	"slices"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"

	"proa.dev/client/record"
	"proa.dev/control"
	kinds "proa.dev/kinds/storage"
	"proa.dev/object"
)

// Annotations that Kubernetes' own tools look at.
const (
	bindCompleted     = "pv.kubernetes.io/bind-completed"
	boundByController = "pv.kubernetes.io/bound-by-controller"
	provisionerKey    = "volume.kubernetes.io/storage-provisioner"
	provisionerBeta   = "volume.beta.kubernetes.io/storage-provisioner"
	selectedNode      = "volume.kubernetes.io/selected-node"
	claimFinalizer    = "kubernetes.io/pvc-protection"
	noProvisioner     = "kubernetes.io/no-provisioner"
)

// claimState is what a plan for a claim looks at.
type claimState struct {
	claim   *core.PersistentVolumeClaim
	volumes []*core.PersistentVolume
	class   *storage.StorageClass // nil: there is none
	def     *storage.StorageClass // the default one, for claims that are older than it
	asked   string                // a pod that names the claim and has no node yet
	used    bool                  // a pod names it, has a node and has not finished
}

// planClaim says what to do next with a claim.
func planClaim(s claimState) []control.Change {
	c := s.claim
	if c.DeletionTimestamp != nil {
		if !s.used && slices.Contains(c.Finalizers, claimFinalizer) {
			n := object.Clone(c)
			n.Finalizers = slices.DeleteFunc(n.Finalizers, func(f string) bool { return f == claimFinalizer })
			return []control.Change{{Op: control.Update, Object: n}}
		}
		return nil
	}
	if !slices.Contains(c.Finalizers, claimFinalizer) {
		n := object.Clone(c)
		n.Finalizers = append(n.Finalizers, claimFinalizer)
		return []control.Change{{Op: control.Update, Object: n}} // which wakes us again
	}
	if c.Spec.VolumeName != "" {
		return append(s.planNamed(), s.expand()...)
	}
	if _, beta := c.Annotations[core.BetaStorageClassAnnotation]; c.Spec.StorageClassName == nil && !beta && s.def != nil {
		n := object.Clone(c)
		n.Spec.StorageClassName = &s.def.Name
		return []control.Change{{Op: control.Update, Object: n}}
	}
	wait := s.class != nil && control.Or(s.class.VolumeBindingMode, storage.VolumeBindingImmediate) == storage.VolumeBindingWaitForFirstConsumer
	if v := best(c, s.volumes, wait); v != nil { // the scheduler chooses for those that wait
		return bind(v, c)
	}
	if wait && c.Annotations[selectedNode] == "" {
		if s.asked != "" {
			return s.pending(core.EventTypeNormal, "WaitForPodScheduled", "waiting for pod "+s.asked+" to be scheduled")
		}
		return s.pending(core.EventTypeNormal, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	}
	return s.unmet()
}

// unmet is a claim that no volume fits.
func (s claimState) unmet() []control.Change {
	c := s.claim
	if s.class == nil || s.class.Provisioner == noProvisioner {
		return s.pending(core.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	}
	p := s.class.Provisioner
	if c.Annotations[provisionerKey] != p || c.Annotations[provisionerBeta] != p {
		n := object.Clone(c)
		annotate(n, provisionerKey, p)
		annotate(n, provisionerBeta, p)
		return []control.Change{{Op: control.Update, Object: n}} // external provisioners wait for this
	}
	return s.pending(core.EventTypeNormal, "ExternalProvisioning", fmt.Sprintf("Waiting for a volume to be created either by the external provisioner '%s' "+
		"or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.", p))
}

// expand tells that a claim wants more than its volume has: others make it larger.
func (s claimState) expand() []control.Change {
	c := s.claim
	want, have := c.Spec.Resources.Requests[core.ResourceStorage], c.Status.Capacity[core.ResourceStorage]
	if c.Status.Phase != core.ClaimBound || want.Cmp(have) <= 0 || len(c.Status.Conditions) > 0 || len(c.Status.AllocatedResourceStatuses) > 0 {
		return nil
	}
	return []control.Change{{Op: tellOnly, Said: control.Note{On: c, Type: core.EventTypeNormal, Reason: "ExternalExpanding",
		Format: "waiting for an external controller to expand this PVC"}}}
}

// planNamed is a claim that names its volume: by our doing, or by its user's.
func (s claimState) planNamed() []control.Change {
	c := s.claim
	complete := c.Annotations[bindCompleted] != ""
	i := slices.IndexFunc(s.volumes, func(v *core.PersistentVolume) bool { return v.Name == c.Spec.VolumeName })
	switch {
	case i < 0 && complete:
		return lost(c, "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case i < 0:
		return s.pending("", "", "")
	}
	v := s.volumes[i]
	switch {
	case kinds.Meant(v, c):
		return bind(v, c)
	case complete:
		return lost(c, "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	case v.Spec.ClaimRef != nil:
		return s.pending(core.EventTypeWarning, "FailedBinding", fmt.Sprintf("volume %q already bound to a different claim.", v.Name))
	}
	if why := kinds.Fits(v, c); why != "" {
		return s.pending(core.EventTypeWarning, "VolumeMismatch", fmt.Sprintf("Cannot bind to requested volume %q: %s", v.Name, why))
	}
	return bind(v, c)
}

// pending makes the claim say that it waits, and tells why when that is news.
func (s claimState) pending(typ, reason, message string) []control.Change {
	c := s.claim
	n := object.Clone(c)
	n.Status.Phase = core.ClaimPending
	ch := control.Change{Op: control.Status, Object: n}
	if reason != "" {
		ch.Said = control.Note{On: c, Type: typ, Reason: reason, Format: message}
	}
	if reflect.DeepEqual(n.Status, c.Status) {
		if reason == "" {
			return nil
		}
		ch.Op = tellOnly
	}
	return []control.Change{ch}
}

// tellOnly marks a change of which only the note counts.
const tellOnly control.Op = "tell"

func lost(c *core.PersistentVolumeClaim, message string) []control.Change {
	if c.Status.Phase == core.ClaimLost {
		return nil
	}
	n := object.Clone(c)
	n.Status = core.PersistentVolumeClaimStatus{Phase: core.ClaimLost}
	return []control.Change{{Op: control.Status, Object: n, Said: control.Note{On: c, Type: core.EventTypeWarning, Reason: "ClaimLost", Format: message}}}
}

// bind ties v and c together, or what is missing of that.
func bind(v *core.PersistentVolume, c *core.PersistentVolumeClaim) []control.Change {
	var changes []control.Change
	if v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID == "" {
		n := object.Clone(v)
		if v.Spec.ClaimRef == nil {
			annotate(n, boundByController, "yes")
		}
		ref := record.Reference(c)
		n.Spec.ClaimRef = &ref
		changes = append(changes, control.Change{Op: control.Update, Object: n})
	}
	if c.Spec.VolumeName == "" || c.Annotations[bindCompleted] == "" {
		n := object.Clone(c)
		if c.Spec.VolumeName == "" {
			n.Spec.VolumeName = v.Name
			annotate(n, boundByController, "yes")
		}
		annotate(n, bindCompleted, "yes")
		changes = append(changes, control.Change{Op: control.Update, Object: n})
	}
	if len(changes) > 0 {
		return changes // which wake us again, with the versions that the status needs
	}
	n := object.Clone(c)
	n.Status.Phase = core.ClaimBound
	n.Status.AccessModes = v.Spec.AccessModes
	if n.Status.CurrentVolumeAttributesClassName == nil && v.Spec.VolumeAttributesClassName != nil {
		n.Status.CurrentVolumeAttributesClassName = v.Spec.VolumeAttributesClassName
	}
	if n.Status.Capacity == nil {
		n.Status.Capacity = core.ResourceList{}
	}
	if have, ok := n.Status.Capacity[core.ResourceStorage]; !ok || c.Status.Phase != core.ClaimBound && have.Cmp(v.Spec.Capacity[core.ResourceStorage]) != 0 {
		n.Status.Capacity[core.ResourceStorage] = v.Spec.Capacity[core.ResourceStorage]
	}
	if reflect.DeepEqual(n.Status, c.Status) {
		return nil
	}
	return []control.Change{{Op: control.Status, Object: n}}
}

func annotate(o object.Object, key, value string) {
	a := o.GetAnnotations()
	if a == nil {
		a = map[string]string{}
	}
	a[key] = value
	o.SetAnnotations(a)
}
