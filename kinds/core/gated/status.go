package gated

import core "k8s.io/api/core/v1"

// DropStatus does for the status of a pod what Drop does for its spec.
func DropStatus(s, old *core.PodStatus) {
	if len(old.NodeAllocatableResourceClaimStatuses) == 0 { // DRANodeAllocatableResources
		s.NodeAllocatableResourceClaimStatuses = nil
	}
	if len(old.VolumeHealth) == 0 { // CSIVolumeHealth
		s.VolumeHealth = nil
	}
	if volumeStatus(s, false) && !volumeStatus(old, false) { // ImageVolumeWithDigest
		volumeStatus(s, true)
	}
}

func volumeStatus(s *core.PodStatus, drop bool) (used bool) {
	for _, list := range [][]core.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			for j := range list[i].VolumeMounts {
				used = unset(&list[i].VolumeMounts[j].VolumeStatus, drop) || used
			}
		}
	}
	return used
}
