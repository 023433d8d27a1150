package volumes

import (
	"context"
	"slices"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"

	"proa.dev/apiserver/admission"
	"proa.dev/client"
	"proa.dev/object"
)

// New makes the plugin. It starts nothing.
func New(d admission.Deps) (admission.Part, error) {
	p := plugin{d.View}
	return admission.Part{Steps: []admission.Step{
		{Name: "StorageObjectInUseProtection", Admit: protect},
		{Name: "PersistentVolumeClaimResize", Check: p.resize},
	}}, nil
}

type plugin struct{ view client.View }

// protect gives new claims, volumes and classes of volume attributes the finalizer by which they stay while they are in use.
func protect(_ context.Context, r *admission.Request) error {
	if r.Op != admission.Create || r.Sub != "" {
		return nil
	}
	finalizer := ""
	switch r.Object.(type) {
	case *core.PersistentVolumeClaim:
		finalizer = "kubernetes.io/pvc-protection"
	case *core.PersistentVolume:
		finalizer = "kubernetes.io/pv-protection"
	case *storage.VolumeAttributesClass:
		finalizer = "kubernetes.io/vac-protection"
	default:
		return nil
	}
	if all := r.Object.GetFinalizers(); !slices.Contains(all, finalizer) {
		r.Object.SetFinalizers(append(all, finalizer))
	}
	return nil
}

// resize refuses to let a claim grow that is not bound, or whose class cannot grow.
func (p plugin) resize(_ context.Context, r *admission.Request) error {
	if r.Op != admission.Update || !r.Is("", "persistentvolumeclaims") {
		return nil
	}
	now, old := r.Object.(*core.PersistentVolumeClaim), r.Old.(*core.PersistentVolumeClaim)
	size := now.Spec.Resources.Requests[core.ResourceStorage]
	if size.Cmp(old.Spec.Resources.Requests[core.ResourceStorage]) <= 0 {
		return nil
	}
	if old.Status.Phase != core.ClaimBound {
		return r.Forbid("Only bound persistent volume claims can be expanded")
	}
	name := classOf(now)
	class, ok := client.Lookup[storage.StorageClass](p.view, object.Key{Name: name})
	if name == "" || name != classOf(old) || !ok || class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion {
		return r.Forbid("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
	}
	return nil
}

func classOf(c *core.PersistentVolumeClaim) string {
	if a, ok := c.Annotations[core.BetaStorageClassAnnotation]; ok {
		return a
	}
	if c.Spec.StorageClassName == nil {
		return ""
	}
	return *c.Spec.StorageClassName
}
