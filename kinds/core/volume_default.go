package core

import (
	core "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/core/resources"
)

func defaultVolume(v *core.Volume) {
	if v.VolumeSource == (core.VolumeSource{}) {
		v.EmptyDir = &core.EmptyDirVolumeSource{}
	}
	switch {
	case v.HostPath != nil:
		orPtr(&v.HostPath.Type, core.HostPathUnset)
	case v.Secret != nil:
		orPtr(&v.Secret.DefaultMode, core.SecretVolumeSourceDefaultMode)
	case v.ConfigMap != nil:
		orPtr(&v.ConfigMap.DefaultMode, core.ConfigMapVolumeSourceDefaultMode)
	case v.DownwardAPI != nil:
		orPtr(&v.DownwardAPI.DefaultMode, core.DownwardAPIVolumeSourceDefaultMode)
		defaultFiles(v.DownwardAPI.Items)
	case v.Projected != nil:
		defaultProjected(v.Projected)
	case v.Image != nil:
		orElse(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		DefaultClaimSpec(&v.Ephemeral.VolumeClaimTemplate.Spec)
	case v.ISCSI != nil:
		orElse(&v.ISCSI.ISCSIInterface, "default")
	case v.RBD != nil:
		defaultRBD(&v.RBD.RBDPool, &v.RBD.RadosUser, &v.RBD.Keyring)
	case v.AzureDisk != nil:
		defaultAzureDisk(v.AzureDisk)
	case v.ScaleIO != nil:
		orElse(&v.ScaleIO.StorageMode, "ThinProvisioned")
		orElse(&v.ScaleIO.FSType, "xfs")
	}
}

func defaultProjected(p *core.ProjectedVolumeSource) {
	orPtr(&p.DefaultMode, core.ProjectedVolumeSourceDefaultMode)
	for _, s := range p.Sources {
		if s.DownwardAPI != nil {
			defaultFiles(s.DownwardAPI.Items)
		}
		if s.ServiceAccountToken != nil {
			orPtr(&s.ServiceAccountToken.ExpirationSeconds, 3600)
		}
	}
}

func defaultFiles(files []core.DownwardAPIVolumeFile) {
	for _, f := range files {
		if f.FieldRef != nil {
			orElse(&f.FieldRef.APIVersion, "v1")
		}
	}
}

func defaultRBD(pool, user, keyring *string) {
	orElse(pool, "rbd")
	orElse(user, "admin")
	orElse(keyring, "/etc/ceph/keyring")
}

func defaultAzureDisk(d *core.AzureDiskVolumeSource) {
	orPtr(&d.CachingMode, core.AzureDataDiskCachingReadWrite)
	orPtr(&d.FSType, "ext4")
	orPtr(&d.ReadOnly, false)
	if d.Kind == nil {
		d.Kind = ptr.To(core.AzureSharedBlobDisk)
	}
}

// DefaultClaimSpec fills the spec of a claim, of a claim template and of an ephemeral volume.
func DefaultClaimSpec(s *core.PersistentVolumeClaimSpec) {
	orPtr(&s.VolumeMode, core.PersistentVolumeFilesystem)
	resources.RoundUp(s.Resources.Limits)
	resources.RoundUp(s.Resources.Requests)
}
