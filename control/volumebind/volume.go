package volumebind

import (
	"reflect"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
	"proa.dev/object"
)

const volumeFinalizer = "kubernetes.io/pv-protection"

// planVolume says what to do next with a volume. claim is the object that its claimRef names, nil if there is none.
func planVolume(v *core.PersistentVolume, claim *core.PersistentVolumeClaim, now time.Time) []control.Change {
	held := slices.Contains(v.Finalizers, volumeFinalizer)
	switch {
	case v.DeletionTimestamp == nil && !held:
		n := object.Clone(v)
		n.Finalizers = append(n.Finalizers, volumeFinalizer)
		return []control.Change{{Op: control.Update, Object: n}} // which wakes us again
	case v.DeletionTimestamp != nil && held && v.Status.Phase != core.VolumeBound:
		n := object.Clone(v)
		n.Finalizers = slices.DeleteFunc(n.Finalizers, func(f string) bool { return f == volumeFinalizer })
		return []control.Change{{Op: control.Update, Object: n}}
	}
	phase := phaseOf(v, claim)
	if phase == v.Status.Phase || phase == core.VolumeReleased && v.Status.Phase == core.VolumeFailed {
		return nil
	}
	n := object.Clone(v)
	n.Status.Phase, n.Status.Message, n.Status.Reason = phase, "", ""
	said := control.Note{}
	if phase == core.VolumeReleased && v.DeletionTimestamp == nil {
		if reason, message := unreclaimable(v); message != "" {
			n.Status.Phase, n.Status.Message = core.VolumeFailed, message
			said = control.Note{On: v, Type: core.EventTypeWarning, Reason: reason, Format: message}
		}
	}
	n.Status.LastPhaseTransitionTime = new(metav1.NewTime(now))
	if reflect.DeepEqual(n.Status, v.Status) {
		return nil
	}
	return []control.Change{{Op: control.Status, Object: n, Said: said}}
}

// provisionedBy names who made a volume, and takes it back.
const provisionedBy = "pv.kubernetes.io/provisioned-by"

// unreclaimable says why a released volume cannot be reclaimed as its policy says: nobody has made it who would take it back, or it is to
// be emptied, which nobody does any more.
func unreclaimable(v *core.PersistentVolume) (reason, message string) {
	switch policy := v.Spec.PersistentVolumeReclaimPolicy; {
	case policy == core.PersistentVolumeReclaimRecycle:
		return "VolumeFailedRecycle", "No recycler plugin found for the volume!"
	case policy == core.PersistentVolumeReclaimDelete && v.Annotations[provisionedBy] == "" && v.Spec.CSI == nil:
		return "VolumeFailedDelete", "error getting deleter volume plugin for volume \"" + v.Name + "\": no deletable volume plugin matched"
	}
	return "", ""
}

func phaseOf(v *core.PersistentVolume, claim *core.PersistentVolumeClaim) core.PersistentVolumePhase {
	ref := v.Spec.ClaimRef
	switch {
	case ref == nil, ref.UID == "":
		return core.VolumeAvailable // free, or kept for a claim that is yet to come
	case claim == nil || claim.UID != ref.UID:
		return core.VolumeReleased
	case claim.Spec.VolumeName == v.Name:
		return core.VolumeBound
	case v.Status.Phase == "":
		return core.VolumeAvailable
	}
	return v.Status.Phase // the claim is about to name it
}
