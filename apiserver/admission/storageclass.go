package admission

import (
	"context"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"

	"proa.dev/client"
)

// isDefaultClass marks the storage class of claims that name none.
const (
	isDefaultClass     = "storageclass.kubernetes.io/is-default-class"
	isDefaultClassBeta = "storageclass.beta.kubernetes.io/is-default-class"
)

// defaultStorageClass gives a claim that names no class the default one: of several the newest.
func (s *Start) defaultStorageClass(_ context.Context, r *Request) error {
	if r.Op != Create || !r.Is("", "persistentvolumeclaims") {
		return nil
	}
	claim := r.Object.(*core.PersistentVolumeClaim)
	if _, named := claim.Annotations[core.BetaStorageClassAnnotation]; named || claim.Spec.StorageClassName != nil {
		return nil
	}
	var found *storage.StorageClass
	for _, c := range client.ListOf[storage.StorageClass](s.view, client.Select{}) {
		if c.Annotations[isDefaultClass] != "true" && c.Annotations[isDefaultClassBeta] != "true" {
			continue
		}
		if found == nil || found.CreationTimestamp.Before(&c.CreationTimestamp) {
			found = c
		}
	}
	if found != nil {
		claim.Spec.StorageClassName = &found.Name
	}
	return nil
}
