package core

import (
	core "k8s.io/api/core/v1"

	"proa.dev/kinds/core/resources"
	"proa.dev/kinds/core/volumes"
)

func defaultVolume(v *core.Volume) {
	if v.VolumeSource == (core.VolumeSource{}) {
		v.EmptyDir = &core.EmptyDirVolumeSource{}
	}
	if v.HostPath != nil {
		orPtr(&v.HostPath.Type, core.HostPathUnset)
	}
	if v.Secret != nil {
		orPtr(&v.Secret.DefaultMode, core.SecretVolumeSourceDefaultMode)
	}
	if v.ConfigMap != nil {
		orPtr(&v.ConfigMap.DefaultMode, core.ConfigMapVolumeSourceDefaultMode)
	}
	if v.DownwardAPI != nil {
		orPtr(&v.DownwardAPI.DefaultMode, core.DownwardAPIVolumeSourceDefaultMode)
		defaultFiles(v.DownwardAPI.Items)
	}
	if v.Projected != nil {
		defaultProjected(v.Projected)
	}
	if v.Image != nil {
		orElse(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		DefaultClaimSpec(&v.Ephemeral.VolumeClaimTemplate.Spec)
	}
	volumes.DefaultLegacy(&v.VolumeSource)
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

// DefaultClaimSpec fills the spec of a claim, of a claim template and of an ephemeral volume.
func DefaultClaimSpec(s *core.PersistentVolumeClaimSpec) {
	orPtr(&s.VolumeMode, core.PersistentVolumeFilesystem)
	resources.RoundUp(s.Resources.Limits)
	resources.RoundUp(s.Resources.Requests)
}
