package core

import (
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kinds"
	"proa.dev/kinds/core/podwarn"
	"proa.dev/kinds/core/resources"
	"proa.dev/kinds/core/volumes"
)

// PersistentVolume is v1 PersistentVolume: storage that outlives pods, before anyone claims it and after.
var PersistentVolume = kinds.Def[core.PersistentVolume, *core.PersistentVolume]{
	Path:    "v1/persistentvolumes",
	Cluster: true,
	Short:   []string{"pv"},
	Status:  true,
	Default: defaultVolumeObject,
	Prepare: func(v, old *core.PersistentVolume) {
		if old == nil {
			created := v.CreationTimestamp
			v.Status = core.PersistentVolumeStatus{Phase: core.VolumePending, LastPhaseTransitionTime: &created}
		}
	},
	PrepareStatus: prepareVolumeStatus,
	Validate:      validateVolume, ValidateUpdate: validateVolumeUpdate,
	Warn: func(v, _ *core.PersistentVolume) []string { return podwarn.Volume(&v.Spec, v.Annotations) },
	Columns: kinds.Described(kinds.Columns("Name", "Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim", "StorageClass",
		"VolumeAttributesClass", "Reason", "Age", "VolumeMode+"), core.PersistentVolumeSpec{}.SwaggerDoc()["capacity"],
		core.PersistentVolumeSpec{}.SwaggerDoc()["accessModes"], core.PersistentVolumeSpec{}.SwaggerDoc()["persistentVolumeReclaimPolicy"],
		core.PersistentVolumeStatus{}.SwaggerDoc()["phase"], core.PersistentVolumeSpec{}.SwaggerDoc()["claimRef"], "StorageClass of the pv",
		"VolumeAttributesClass of the pv", core.PersistentVolumeStatus{}.SwaggerDoc()["reason"], core.PersistentVolumeSpec{}.SwaggerDoc()["volumeMode"]),
	Row: volumeRow,
}

func defaultVolumeObject(v *core.PersistentVolume) {
	orElse(&v.Status.Phase, core.VolumePending)
	orElse(&v.Spec.PersistentVolumeReclaimPolicy, core.PersistentVolumeReclaimRetain)
	orPtr(&v.Spec.VolumeMode, core.PersistentVolumeFilesystem)
	resources.RoundUp(v.Spec.Capacity)
	volumes.DefaultPersistent(&v.Spec.PersistentVolumeSource)
}

// prepareVolumeStatus keeps lastPhaseTransitionTime true where the writer does not.
func prepareVolumeStatus(v, old *core.PersistentVolume) {
	t, was := &v.Status.LastPhaseTransitionTime, old.Status.LastPhaseTransitionTime
	switch {
	case v.Status.Phase == old.Status.Phase && *t == nil:
		*t = was
	case v.Status.Phase != old.Status.Phase && (*t == nil || (*t).Equal(was)):
		now := metav1.Now()
		*t = &now
	}
}

func volumeRow(v *core.PersistentVolume, now time.Time) []any {
	claim := ""
	if r := v.Spec.ClaimRef; r != nil {
		claim = r.Namespace + "/" + r.Name
	}
	size := v.Spec.Capacity[core.ResourceStorage]
	phase := string(v.Status.Phase)
	if v.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	return []any{
		v.Name, size.String(), accessModes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim,
		or(v.Annotations[core.BetaStorageClassAnnotation], v.Spec.StorageClassName), orUnset(v.Spec.VolumeAttributesClassName),
		v.Status.Reason, kinds.Age(v.CreationTimestamp, now), orUnset(v.Spec.VolumeMode),
	}
}

func orUnset[T ~string](p *T) string {
	if p == nil {
		return "<unset>"
	}
	return string(*p)
}

func accessModes(modes []core.PersistentVolumeAccessMode) string {
	short := []struct {
		mode core.PersistentVolumeAccessMode
		name string
	}{
		{core.ReadWriteOnce, "RWO"}, {core.ReadOnlyMany, "ROX"}, {core.ReadWriteMany, "RWX"}, {core.ReadWriteOncePod, "RWOP"},
	}
	var out []string
	for _, s := range short {
		for _, m := range modes {
			if m == s.mode {
				out = append(out, s.name)
				break
			}
		}
	}
	return strings.Join(out, ",")
}
