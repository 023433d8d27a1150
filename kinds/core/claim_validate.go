package core

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core/volumes"
)

var (
	modes = []core.PersistentVolumeAccessMode{core.ReadOnlyMany, core.ReadWriteMany, core.ReadWriteOnce, core.ReadWriteOncePod}
	sorts = []core.PersistentVolumeMode{core.PersistentVolumeBlock, core.PersistentVolumeFilesystem}
)

func validAccessModes(e *check.Errors, p *field.Path, list []core.PersistentVolumeAccessMode) {
	alone, shared := false, false
	for _, m := range list {
		ok := check.OneOf(e, p, m, modes...)
		alone = alone || m == core.ReadWriteOncePod
		shared = shared || ok && m != core.ReadWriteOncePod
	}
	if alone && shared {
		e.Forbidden(p, "may not use ReadWriteOncePod with other access modes")
	}
}

// ValidateClaimSpec checks the spec of a claim or claim template at p.
func ValidateClaimSpec(e *check.Errors, p *field.Path, s *core.PersistentVolumeClaimSpec) {
	claimSpec(e, p, s)
}

func claimSpec(e *check.Errors, p *field.Path, s *core.PersistentVolumeClaimSpec) {
	if len(s.AccessModes) == 0 {
		e.Required(p.Child("accessModes"), "at least 1 access mode is required")
	}
	if s.Selector != nil {
		e.Selector(p.Child("selector"), s.Selector)
	}
	validAccessModes(e, p.Child("accessModes"), s.AccessModes)
	at := p.Child("resources").Key(string(core.ResourceStorage))
	if q, ok := s.Resources.Requests[core.ResourceStorage]; ok {
		e.PositiveQuantity(at, q)
	} else {
		e.Required(at, "")
	}
	if c := s.StorageClassName; c != nil && *c != "" {
		e.Subdomain(p.Child("storageClassName"), *c)
	}
	if s.VolumeMode != nil {
		check.OneOf(e, p.Child("volumeMode"), *s.VolumeMode, sorts...)
	}
	dataSources(e, p, s)
	if c := s.VolumeAttributesClassName; c != nil && *c != "" {
		e.Subdomain(p.Child("volumeAttributesClassName"), *c)
	}
}

func dataSources(e *check.Errors, p *field.Path, s *core.PersistentVolumeClaimSpec) {
	source := func(p *field.Path, group *string, kind, name string) {
		e.NotEmpty(p.Child("name"), name)
		e.NotEmpty(p.Child("kind"), kind)
		if group == nil || *group == "" {
			if kind != "PersistentVolumeClaim" {
				e.Invalid(p, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
			}
			return
		}
		e.Subdomain(p.Child("apiGroup"), *group)
	}
	d, r := s.DataSource, s.DataSourceRef
	if d != nil {
		source(p.Child("dataSource"), d.APIGroup, d.Kind, d.Name)
	}
	if r == nil {
		return
	}
	source(p.Child("dataSourceRef"), r.APIGroup, r.Kind, r.Name)
	if r.Namespace != nil && *r.Namespace != "" {
		e.Invalids(p.Child("dataSourceRef", "namespace"), *r.Namespace, validation.ValidateNamespaceName(*r.Namespace, false))
		if d != nil {
			e.Invalid(p, struct{}{}, "may not be specified when dataSourceRef.namespace is specified")
		}
		return
	}
	if d != nil && (!equality.Semantic.DeepEqual(d.APIGroup, r.APIGroup) || d.Kind != r.Kind || d.Name != r.Name) {
		e.Invalid(p, struct{}{}, "must match dataSourceRef")
	}
}

func validateClaim(c *core.PersistentVolumeClaim) field.ErrorList {
	return check.Run(func(e *check.Errors) { claimSpec(e, specPath, &c.Spec) })
}

func validateClaimUpdate(c, old *core.PersistentVolumeClaim) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		now, was := c.DeepCopy(), old.DeepCopy()
		alignDataSources(&was.Spec)
		if was.Spec.VolumeName == "" { // the binder's one change
			was.Spec.VolumeName = now.Spec.VolumeName
		}
		annotation, named := old.Annotations[core.BetaStorageClassAnnotation]
		if class := c.Spec.StorageClassName; was.Spec.StorageClassName == nil && class != nil && (!named || *class == annotation) {
			now.Spec.StorageClassName = nil // a class may be given later, to a claim that has none
		}
		if c.Annotations[core.BetaStorageClassAnnotation] != annotation && (named || c.Annotations[core.BetaStorageClassAnnotation] != "") {
			if _, still := c.Annotations[core.BetaStorageClassAnnotation]; still || c.Spec.StorageClassName == nil {
				e.Immutable(metaPath.Child("annotations", core.BetaStorageClassAnnotation),
					c.Annotations[core.BetaStorageClassAnnotation], annotation)
			}
		}
		if c.Status.Phase == core.ClaimBound {
			if now.Spec.Resources.Requests != nil {
				now.Spec.Resources.Requests[core.ResourceStorage] = was.Spec.Resources.Requests[core.ResourceStorage]
			}
			now.Spec.VolumeAttributesClassName = was.Spec.VolumeAttributesClassName
		}
		if !equality.Semantic.DeepEqual(now.Spec, was.Spec) {
			e.Forbidden(specPath, fmt.Sprintf("spec is immutable after creation except resources.requests and "+
				"volumeAttributesClassName for bound claims\n%v", check.Diff(was.Spec, now.Spec)))
		}
		size, before, real := c.Spec.Resources.Requests[core.ResourceStorage], old.Spec.Resources.Requests[core.ResourceStorage],
			old.Status.Capacity[core.ResourceStorage]
		if size.Cmp(before) < 0 && size.Cmp(real) <= 0 {
			e.Forbidden(specPath.Child("resources", "requests", "storage"), "field can not be less than status.capacity")
		}
		e.Immutable(field.NewPath("volumeMode"), c.Spec.VolumeMode, old.Spec.VolumeMode)
		if old.Status.CurrentVolumeAttributesClassName != nil && !equality.Semantic.DeepEqual(c.Spec.VolumeAttributesClassName, old.Spec.VolumeAttributesClassName) {
			switch class := c.Spec.VolumeAttributesClassName; {
			case class == nil:
				e.Forbidden(specPath.Child("volumeAttributesClassName"), "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil")
			case *class == "":
				e.Forbidden(specPath.Child("volumeAttributesClassName"), "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil")
			}
		}
	})
}

func validateClaimStatus(c, _ *core.PersistentVolumeClaim) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		amounts(e, statusPath.Child("capacity"), c.Status.Capacity)
		p := statusPath.Child("allocatedResourceStatuses")
		for _, n := range slices.Sorted(maps.Keys(c.Status.AllocatedResourceStatuses)) {
			claimResource(e, p, n)
			if v := c.Status.AllocatedResourceStatuses[n]; !slices.Contains(resizing[:], v) {
				e.Add(field.NotSupported(p, n, resizing[:]))
			}
		}
		p = statusPath.Child("allocatedResources")
		known := core.ResourceList{}
		for _, n := range slices.Sorted(maps.Keys(c.Status.AllocatedResources)) {
			if claimResource(e, p, n) {
				known[n] = c.Status.AllocatedResources[n]
			}
		}
		amounts(e, p, known)
	})
}

// resizing are the states of a claim whose volume grows.
var resizing = [...]core.ClaimResourceStatus{core.PersistentVolumeClaimControllerResizeInProgress, core.PersistentVolumeClaimControllerResizeInfeasible,
	core.PersistentVolumeClaimNodeResizeInProgress, core.PersistentVolumeClaimNodeResizeInfeasible, core.PersistentVolumeClaimNodeResizePending}

// claimResource wants storage, or a resource with a domain of its own.
func claimResource(e *check.Errors, p *field.Path, n core.ResourceName) bool {
	if n == core.ResourceStorage {
		return true
	}
	if msgs := utilvalidation.IsQualifiedName(string(n)); len(msgs) > 0 {
		e.Invalids(p, string(n), msgs)
		return false
	}
	if !strings.Contains(string(n), "/") || strings.HasPrefix(string(n), core.ResourceDefaultNamespacePrefix) {
		e.Add(field.NotSupported(p, string(n), []core.ResourceName{core.ResourceStorage}))
		return false
	}
	return true
}

func amounts(e *check.Errors, p *field.Path, l core.ResourceList) {
	for _, n := range slices.Sorted(maps.Keys(l)) {
		if q := l[n]; q.Sign() < 0 {
			e.Invalid(p.Key(string(n)), q.Value(), "must be a valid resource quantity")
		}
	}
}

func validateVolume(v *core.PersistentVolume) field.ErrorList {
	return check.Run(func(e *check.Errors) { volumeObject(e, v) })
}

func volumeObject(e *check.Errors, v *core.PersistentVolume) {
	volumeSpec(e, specPath, v)
	s := &v.Spec
	plain := s.AzureFile != nil || s.CephFS != nil || s.Cinder != nil || s.GCEPersistentDisk != nil || s.Glusterfs != nil || s.ISCSI != nil ||
		s.NFS != nil || s.Quobyte != nil || s.RBD != nil || s.VsphereVolume != nil || s.AWSElasticBlockStore != nil || s.CSI != nil || s.AzureDisk != nil
	if _, ok := v.Annotations[core.MountOptionAnnotation]; ok && !plain {
		e.Forbidden(metaPath.Child("annotations", core.MountOptionAnnotation), "may not specify mount options for this volume type")
	}
}

func volumeSpec(e *check.Errors, p *field.Path, v *core.PersistentVolume) {
	s := &v.Spec
	if len(s.AccessModes) == 0 {
		e.Required(p.Child("accessModes"), "")
	}
	validAccessModes(e, p.Child("accessModes"), s.AccessModes)
	if len(s.Capacity) == 0 {
		e.Required(p.Child("capacity"), "")
	}
	if _, ok := s.Capacity[core.ResourceStorage]; !ok || len(s.Capacity) > 1 {
		e.Add(field.NotSupported(p.Child("capacity"), s.Capacity, []core.ResourceName{core.ResourceStorage}))
	}
	amounts(e, p.Child("capacity"), s.Capacity)
	for _, n := range slices.Sorted(maps.Keys(s.Capacity)) {
		e.PositiveQuantity(p.Child("capacity").Key(string(n)), s.Capacity[n])
	}
	if s.PersistentVolumeReclaimPolicy != "" {
		check.OneOf(e, p.Child("persistentVolumeReclaimPolicy"), s.PersistentVolumeReclaimPolicy,
			core.PersistentVolumeReclaimDelete, core.PersistentVolumeReclaimRecycle, core.PersistentVolumeReclaimRetain)
	}
	volumeNodes(e, p.Child("nodeAffinity"), s.NodeAffinity)
	persistentSource(e, p, v)
	if h := s.HostPath; h != nil && path.Clean(h.Path) == "/" && s.PersistentVolumeReclaimPolicy == core.PersistentVolumeReclaimRecycle {
		e.Forbidden(p.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'")
	}
	if s.StorageClassName != "" {
		e.Subdomain(p.Child("storageClassName"), s.StorageClassName)
	}
	if s.VolumeMode != nil {
		check.OneOf(e, p.Child("volumeMode"), *s.VolumeMode, sorts...)
	}
	if c := s.VolumeAttributesClassName; c != nil {
		if *c == "" {
			e.Required(p.Child("volumeAttributesClassName"), "an empty string is disallowed")
		} else {
			e.Subdomain(p.Child("volumeAttributesClassName"), *c)
		}
		if s.CSI == nil {
			e.Required(p.Child("csi"), "has to be specified when using volumeAttributesClassName")
		}
	}
}

func volumeNodes(e *check.Errors, p *field.Path, a *core.VolumeNodeAffinity) {
	if a == nil {
		return
	}
	if a.Required == nil {
		e.Required(p.Child("required"), "must specify required node constraints")
	} else {
		NodeSelector(e, p.Child("required"), a.Required)
	}
}

func persistentSource(e *check.Errors, p *field.Path, v *core.PersistentVolume) {
	s, set := &v.Spec, volumes.PersistentSources(&v.Spec.PersistentVolumeSource)
	if len(set) == 0 {
		e.Required(p, "must specify a volume type")
		return
	}
	at := p.Child(set[0])
	switch set[0] {
	case "hostPath":
		hostPath(e, at, s.HostPath)
	case "nfs":
		nfs(e, at, s.NFS)
	case "local":
		if s.Local.Path == "" {
			e.Required(at.Child("path"), "")
		} else {
			volumes.NoBacksteps(e, at.Child("path"), s.Local.Path)
		}
		if s.NodeAffinity == nil {
			e.Required(p.Child("nodeAffinity"), "Local volume requires node affinity")
		}
	case "csi":
		CSIDriverName(e, at.Child("driver"), s.CSI.Driver)
		e.NotEmpty(at.Child("volumeHandle"), s.CSI.VolumeHandle)
		secretRef(e, at.Child("controllerPublishSecretRef"), s.CSI.ControllerPublishSecretRef)
		secretRef(e, at.Child("controllerExpandSecretRef"), s.CSI.ControllerExpandSecretRef)
		secretRef(e, at.Child("nodePublishSecretRef"), s.CSI.NodePublishSecretRef)
		secretRef(e, at.Child("nodeExpandSecretRef"), s.CSI.NodeExpandSecretRef)
	default:
		volumes.LegacyPersistent(e, p, v.Name, set[0], &s.PersistentVolumeSource)
	}
	for _, name := range set[1:] {
		if name == "flexVolume" { // Kubernetes does not count this one
			volumes.LegacyPersistent(e, p, v.Name, name, &s.PersistentVolumeSource)
			continue
		}
		e.Forbidden(p.Child(name), oneVolumeType)
	}
}

func secretRef(e *check.Errors, p *field.Path, r *core.SecretReference) {
	if r == nil {
		return
	}
	if r.Name == "" {
		e.Required(p.Child("name"), "")
	} else {
		e.Subdomain(p.Child("name"), r.Name)
	}
	if r.Namespace == "" {
		e.Required(p.Child("namespace"), "")
	} else {
		e.Label(p.Child("namespace"), r.Namespace)
	}
}

// gaLabel is the name that a label of nodes has had since it is no longer beta.
func gaLabel(key string) string {
	switch key {
	case core.LabelFailureDomainBetaZone:
		return core.LabelTopologyZone
	case core.LabelFailureDomainBetaRegion:
		return core.LabelTopologyRegion
	case core.LabelInstanceType:
		return core.LabelInstanceTypeStable
	case "beta.kubernetes.io/os":
		return core.LabelOSStable
	case "beta.kubernetes.io/arch":
		return core.LabelArchStable
	}
	return key
}

// sameNodes says whether a volume that could be used where was says still is, but for labels that have their newer names.
func sameNodes(now, was *core.VolumeNodeAffinity) bool {
	if now != nil && now.Required != nil && was.Required != nil && len(now.Required.NodeSelectorTerms) == len(was.Required.NodeSelectorTerms) {
		was = was.DeepCopy()
		for i, term := range was.Required.NodeSelectorTerms {
			exprs := now.Required.NodeSelectorTerms[i].MatchExpressions
			for j := range min(len(exprs), len(term.MatchExpressions)) {
				if newer := gaLabel(term.MatchExpressions[j].Key); newer == exprs[j].Key {
					term.MatchExpressions[j].Key = newer
				}
			}
		}
	}
	return equality.Semantic.DeepEqual(now, was)
}

func validateVolumeUpdate(v, old *core.PersistentVolume) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		volumeObject(e, v) // Kubernetes looks twice: the causes come twice
		now := v.Spec.PersistentVolumeSource
		if was := old.Spec.CSI; was != nil && was.ControllerExpandSecretRef == nil && now.CSI != nil {
			now.CSI = now.CSI.DeepCopy() // may be given later
			now.CSI.ControllerExpandSecretRef = nil
		}
		if !equality.Semantic.DeepEqual(now, old.Spec.PersistentVolumeSource) {
			e.Forbidden(specPath.Child("persistentvolumesource"), fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v",
				check.Diff(old.Spec.PersistentVolumeSource, now)))
		}
		e.Immutable(field.NewPath("volumeMode"), v.Spec.VolumeMode, old.Spec.VolumeMode)
		if old.Spec.NodeAffinity != nil && !sameNodes(v.Spec.NodeAffinity, old.Spec.NodeAffinity) {
			e.Invalid(field.NewPath("nodeAffinity"), v.Spec.NodeAffinity, "field is immutable, except for updating from beta label to GA")
		}
		if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
			e.Forbidden(specPath.Child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden")
		}
	})
}

// ValidateInlineVolume checks the volume spec of an attachment, which no claim stands behind.
func ValidateInlineVolume(e *check.Errors, p *field.Path, s *core.PersistentVolumeSpec) {
	const in = " in the context of inline volumes"
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"claimRef", s.ClaimRef != nil}, {"capacity", len(s.Capacity) > 0}, {"nodeAffinity", s.NodeAffinity != nil},
		{"storageClassName", s.StorageClassName != ""},
	} {
		if f.set {
			e.Forbidden(p.Child(f.name), "may not be specified"+in)
		}
	}
	if s.CSI == nil {
		e.Required(p.Child("csi"), "has to be specified"+in)
	}
	if len(s.AccessModes) == 0 {
		e.Required(p.Child("accessModes"), "")
	}
	validAccessModes(e, p.Child("accessModes"), s.AccessModes)
	if r := s.PersistentVolumeReclaimPolicy; r != "" && r != core.PersistentVolumeReclaimRetain {
		e.Forbidden(p.Child("persistentVolumeReclaimPolicy"), "may only be Retain"+in)
	}
	if m := s.VolumeMode; m != nil && *m != core.PersistentVolumeFilesystem {
		e.Forbidden(p.Child("volumeMode"), "may not specify volumeMode other than Filesystem"+in)
	}
	persistentSource(e, p, &core.PersistentVolume{Spec: *s})
}
