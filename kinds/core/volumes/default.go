package volumes

import (
	core "k8s.io/api/core/v1"
)

// DefaultPersistent fills the sources of a persistent volume. There should be one; if there are more, validation shows them all, filled.
func DefaultPersistent(s *core.PersistentVolumeSource) {
	if s.HostPath != nil {
		orPtr(&s.HostPath.Type, core.HostPathUnset)
	}
	if s.ISCSI != nil {
		or(&s.ISCSI.ISCSIInterface, "default")
	}
	if s.RBD != nil {
		defaultRBD(&s.RBD.RBDPool, &s.RBD.RadosUser, &s.RBD.Keyring)
	}
	defaultAzureDisk(s.AzureDisk)
	if s.ScaleIO != nil {
		defaultScaleIO(&s.ScaleIO.StorageMode, &s.ScaleIO.FSType)
	}
}

// DefaultLegacy fills those sources of a pod's volume that came from plugins inside Kubernetes.
func DefaultLegacy(s *core.VolumeSource) {
	if s.ISCSI != nil {
		or(&s.ISCSI.ISCSIInterface, "default")
	}
	if s.RBD != nil {
		defaultRBD(&s.RBD.RBDPool, &s.RBD.RadosUser, &s.RBD.Keyring)
	}
	defaultAzureDisk(s.AzureDisk)
	if s.ScaleIO != nil {
		defaultScaleIO(&s.ScaleIO.StorageMode, &s.ScaleIO.FSType)
	}
}

func defaultRBD(pool, user, keyring *string) {
	or(pool, "rbd")
	or(user, "admin")
	or(keyring, "/etc/ceph/keyring")
}

func defaultScaleIO(mode, fs *string) {
	or(mode, "ThinProvisioned")
	or(fs, "xfs")
}

func defaultAzureDisk(d *core.AzureDiskVolumeSource) {
	if d == nil {
		return
	}
	orPtr(&d.CachingMode, core.AzureDataDiskCachingReadWrite)
	orPtr(&d.FSType, "ext4")
	orPtr(&d.ReadOnly, false)
	orPtr(&d.Kind, core.AzureSharedBlobDisk)
}

func or(p *string, v string) {
	if *p == "" {
		*p = v
	}
}

func orPtr[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}
