package storage

import (
	"fmt"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
	"proa.dev/kinds/core/podwarn"
)

// StorageClass is storage.k8s.io/v1 StorageClass: how volumes of one class come to be.
var StorageClass = kinds.Def[storage.StorageClass, *storage.StorageClass]{
	Path:     "storage.k8s.io/v1/storageclasses",
	Cluster:  true,
	Short:    []string{"sc"},
	Validate: validateStorageClass, ValidateUpdate: validateStorageClassUpdate,
	Default: func(c *storage.StorageClass) {
		orPtr(&c.ReclaimPolicy, core.PersistentVolumeReclaimDelete)
		orPtr(&c.VolumeBindingMode, storage.VolumeBindingImmediate)
	},
	Warn: func(c, _ *storage.StorageClass) (out []string) {
		for i, t := range c.AllowedTopologies {
			for j, r := range t.MatchLabelExpressions {
				if msg := podwarn.NewerLabel(r.Key); msg != "" {
					out = append(out, fmt.Sprintf("allowedTopologies[%d].matchLabelExpressions[%d].key: %s", i, j, msg))
				}
			}
		}
		return out
	},
	Columns: kinds.Columns("Name", "Provisioner|"+storage.StorageClass{}.SwaggerDoc()["provisioner"],
		"ReclaimPolicy|"+storage.StorageClass{}.SwaggerDoc()["reclaimPolicy"],
		"VolumeBindingMode|"+storage.StorageClass{}.SwaggerDoc()["volumeBindingMode"],
		"AllowVolumeExpansion|"+storage.StorageClass{}.SwaggerDoc()["allowVolumeExpansion"], "Age"),
	Row: func(c *storage.StorageClass, now time.Time) []any {
		name := c.Name
		if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" ||
			c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
			name += " (default)"
		}
		return []any{
			name, c.Provisioner, string(ptr.Deref(c.ReclaimPolicy, core.PersistentVolumeReclaimDelete)),
			string(ptr.Deref(c.VolumeBindingMode, storage.VolumeBindingImmediate)), ptr.Deref(c.AllowVolumeExpansion, false),
			kinds.Age(c.CreationTimestamp, now),
		}
	},
}

func orPtr[T any](p **T, v T) {
	if *p == nil {
		*p = ptr.To(v)
	}
}
