package core

import (
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kinds"
	"proa.dev/kinds/core/podwarn"
)

// PersistentVolumeClaim is v1 PersistentVolumeClaim: so much storage of such a class is wanted.
var PersistentVolumeClaim = kinds.Def[core.PersistentVolumeClaim, *core.PersistentVolumeClaim]{
	Path:     "v1/persistentvolumeclaims",
	Short:    []string{"pvc"},
	Status:   true,
	Default:  DefaultClaim,
	Warn:     warnClaim,
	Validate: validateClaim, ValidateUpdate: validateClaimUpdate, ValidateStatus: validateClaimStatus,
	Prepare: func(c, old *core.PersistentVolumeClaim) {
		if old == nil {
			c.Status = core.PersistentVolumeClaimStatus{Phase: core.ClaimPending}
		}
		if r := c.Spec.DataSourceRef; r != nil && r.Namespace != nil && *r.Namespace != "" && (old == nil || old.Spec.DataSourceRef == nil || old.Spec.DataSourceRef.Namespace == nil) {
			c.Spec.DataSourceRef = nil // sources in other namespaces stand behind a feature that is off (KEP-3294)
		}
		alignDataSources(&c.Spec)
	},
	Columns: kinds.Described(kinds.Columns("Name", "Status", "Volume", "Capacity", "Access Modes", "StorageClass", "VolumeAttributesClass", "Age",
		"VolumeMode+"), core.PersistentVolumeClaimStatus{}.SwaggerDoc()["phase"], core.PersistentVolumeClaimSpec{}.SwaggerDoc()["volumeName"],
		core.PersistentVolumeClaimStatus{}.SwaggerDoc()["capacity"], core.PersistentVolumeClaimStatus{}.SwaggerDoc()["accessModes"],
		"StorageClass of the pvc", "VolumeAttributesClass of the pvc", core.PersistentVolumeClaimSpec{}.SwaggerDoc()["volumeMode"]),
	Row: claimRow,
}

// DefaultClaim fills a claim, also one in a StatefulSet's templates.
func DefaultClaim(c *core.PersistentVolumeClaim) {
	orElse(&c.Status.Phase, core.ClaimPending)
	DefaultClaimSpec(&c.Spec)
}

// warnClaim tells of an annotation that a field has replaced, and of sizes that are no whole number of bytes.
func warnClaim(c, _ *core.PersistentVolumeClaim) (out []string) {
	if _, ok := c.Annotations[core.BetaStorageClassAnnotation]; ok {
		out = append(out, "metadata.annotations["+core.BetaStorageClassAnnotation+`]: deprecated since v1.8; use "storageClassName" attribute instead`)
	}
	return append(out, podwarn.Claim(specPath, &c.Spec)...)
}

// alignDataSources keeps the older field dataSource and dataSourceRef alike; dataSource knows claims and snapshots only, and other
// kinds in it alone are ignored (KEP-1495).
func alignDataSources(s *core.PersistentVolumeClaimSpec) {
	if d := s.DataSource; d != nil && s.DataSourceRef == nil {
		group := ""
		if d.APIGroup != nil {
			group = *d.APIGroup
		}
		claim := d.Kind == "PersistentVolumeClaim" && group == ""
		snapshot := d.Kind == "VolumeSnapshot" && group == "snapshot.storage.k8s.io"
		if !claim && !snapshot {
			s.DataSource = nil
			return
		}
		s.DataSourceRef = &core.TypedObjectReference{APIGroup: d.APIGroup, Kind: d.Kind, Name: d.Name}
	}
	if r := s.DataSourceRef; r != nil && s.DataSource == nil && (r.Namespace == nil || *r.Namespace == "") {
		s.DataSource = &core.TypedLocalObjectReference{APIGroup: r.APIGroup, Kind: r.Kind, Name: r.Name}
	}
}

func claimRow(c *core.PersistentVolumeClaim, now time.Time) []any {
	phase := string(c.Status.Phase)
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	var capacity, modes string
	if c.Spec.VolumeName != "" {
		size := c.Status.Capacity[core.ResourceStorage]
		capacity, modes = size.String(), accessModes(c.Status.AccessModes)
	}
	class := ""
	if c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	if a, ok := c.Annotations[core.BetaStorageClassAnnotation]; ok {
		class = a
	}
	return []any{
		c.Name, phase, c.Spec.VolumeName, capacity, modes, class, orUnset(c.Spec.VolumeAttributesClassName),
		kinds.Age(c.CreationTimestamp, now), orUnset(c.Spec.VolumeMode),
	}
}
