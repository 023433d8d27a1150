package storage

import (
	"slices"

	core "k8s.io/api/core/v1"
)

// ClassOf is the storage class of a claim; "" asks for volumes without one.
func ClassOf(c *core.PersistentVolumeClaim) string {
	if name, ok := c.Annotations[core.BetaStorageClassAnnotation]; ok {
		return name
	}
	return or(c.Spec.StorageClassName, "")
}

// ClassOfVolume is the storage class of a volume.
func ClassOfVolume(v *core.PersistentVolume) string {
	if name, ok := v.Annotations[core.BetaStorageClassAnnotation]; ok {
		return name
	}
	return v.Spec.StorageClassName
}

// Meant says whether v's claimRef names c: with its uid, or as somebody wrote it beforehand, without.
func Meant(v *core.PersistentVolume, c *core.PersistentVolumeClaim) bool {
	ref := v.Spec.ClaimRef
	return ref != nil && ref.Namespace == c.Namespace && ref.Name == c.Name && (ref.UID == "" || ref.UID == c.UID)
}

// Fits says why v cannot serve c, or "".
func Fits(v *core.PersistentVolume, c *core.PersistentVolumeClaim) string {
	have, want := v.Spec.Capacity[core.ResourceStorage], c.Spec.Resources.Requests[core.ResourceStorage]
	switch {
	case have.Cmp(want) < 0:
		return "requested PV is too small"
	case ClassOfVolume(v) != ClassOf(c) && !Meant(v, c): // who names the claim wants it, whatever its class
		return "storageClassName does not match"
	case or(v.Spec.VolumeMode, core.PersistentVolumeFilesystem) != or(c.Spec.VolumeMode, core.PersistentVolumeFilesystem):
		return "incompatible volumeMode"
	case or(v.Spec.VolumeAttributesClassName, "") != or(c.Spec.VolumeAttributesClassName, ""):
		return "volumeAttributesClassName does not match"
	}
	for _, m := range c.Spec.AccessModes {
		if !slices.Contains(v.Spec.AccessModes, m) {
			return "incompatible accessMode"
		}
	}
	return ""
}

// Smaller orders volumes by size, then by name.
func Smaller(a, b *core.PersistentVolume) bool {
	x, y := a.Spec.Capacity[core.ResourceStorage], b.Spec.Capacity[core.ResourceStorage]
	if n := x.Cmp(y); n != 0 {
		return n < 0
	}
	return a.Name < b.Name
}

func or[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}
