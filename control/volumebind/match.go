package volumebind

import (
	"slices"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/control"
)

// classOf is the storage class of a claim; "" asks for volumes without one.
func classOf(c *core.PersistentVolumeClaim) string {
	if name, ok := c.Annotations[core.BetaStorageClassAnnotation]; ok {
		return name
	}
	return control.Or(c.Spec.StorageClassName, "")
}

func classOfVolume(v *core.PersistentVolume) string {
	if name, ok := v.Annotations[core.BetaStorageClassAnnotation]; ok {
		return name
	}
	return v.Spec.StorageClassName
}

// meant says whether v's claimRef names c: with its uid, or as somebody wrote it beforehand, without.
func meant(v *core.PersistentVolume, c *core.PersistentVolumeClaim) bool {
	ref := v.Spec.ClaimRef
	return ref != nil && ref.Namespace == c.Namespace && ref.Name == c.Name && (ref.UID == "" || ref.UID == c.UID)
}

// fits says why v cannot serve c, or "".
func fits(v *core.PersistentVolume, c *core.PersistentVolumeClaim) string {
	have, want := v.Spec.Capacity[core.ResourceStorage], c.Spec.Resources.Requests[core.ResourceStorage]
	mode := func(m *core.PersistentVolumeMode) core.PersistentVolumeMode {
		return control.Or(m, core.PersistentVolumeFilesystem)
	}
	switch {
	case have.Cmp(want) < 0:
		return "requested PV is too small"
	case classOfVolume(v) != classOf(c):
		return "storageClassName does not match"
	case mode(v.Spec.VolumeMode) != mode(c.Spec.VolumeMode):
		return "incompatible volumeMode"
	}
	for _, m := range c.Spec.AccessModes {
		if !slices.Contains(v.Spec.AccessModes, m) {
			return "incompatible accessMode"
		}
	}
	return ""
}

// best is the volume for c: one that is meant for it, else the smallest free one that fits; nil if there is none.
func best(c *core.PersistentVolumeClaim, volumes []*core.PersistentVolume) *core.PersistentVolume {
	sel := labels.Everything()
	if c.Spec.Selector != nil {
		var err error
		if sel, err = metav1.LabelSelectorAsSelector(c.Spec.Selector); err != nil {
			return nil // validation refuses what does not parse
		}
	}
	var found *core.PersistentVolume
	for _, v := range volumes {
		if v.DeletionTimestamp != nil || fits(v, c) != "" {
			continue
		}
		if meant(v, c) {
			return v
		}
		if v.Spec.ClaimRef != nil || !sel.Matches(labels.Set(v.Labels)) {
			continue
		}
		if found == nil || less(v, found) {
			found = v
		}
	}
	return found
}

func less(a, b *core.PersistentVolume) bool {
	x, y := a.Spec.Capacity[core.ResourceStorage], b.Spec.Capacity[core.ResourceStorage]
	if n := x.Cmp(y); n != 0 {
		return n < 0
	}
	return a.Name < b.Name
}
