package evict

import (
	"fmt"

	core "k8s.io/api/core/v1"
	podresource "k8s.io/component-helpers/resource"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kubelet/spec"
)

// limited says whether a pod has a limit of local storage that the kernel does not hold it to. That of a volume in memory it does.
func limited(p *core.Pod) bool {
	for i := range p.Spec.Volumes {
		if e := p.Spec.Volumes[i].EmptyDir; e != nil && e.Medium != core.StorageMediumMemory && e.SizeLimit != nil && e.SizeLimit.Sign() > 0 {
			return true
		}
	}
	_, ok := podresource.PodLimits(p, podresource.PodResourcesOptions{})[core.ResourceEphemeralStorage]
	return ok
}

// The signals of pods that went beyond limits of their own, as Kubernetes' metrics name them.
const (
	emptyDirLimit  Signal = "emptydirfs.limit"
	podLimit       Signal = "ephemeralpodfs.limit"
	containerLimit Signal = "ephemeralcontainerfs.limit"
)

// beyond says which limit of local storage a pod has passed, and the message; "" is none. split is as with rank.
func beyond(p *core.Pod, u *stats.PodStats, split bool) (Signal, string) {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.Medium == core.StorageMediumMemory || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() <= 0 {
			continue
		}
		for j := range u.VolumeStats {
			if f := &u.VolumeStats[j]; f.Name == v.Name && number(f.UsedBytes) > v.EmptyDir.SizeLimit.Value() {
				return emptyDirLimit, fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String())
			}
		}
	}
	limit, ok := podresource.PodLimits(p, podresource.PodResourcesOptions{})[core.ResourceEphemeralStorage]
	if ok && u.EphemeralStorage != nil && number(u.EphemeralStorage.UsedBytes) > limit.Value() {
		return podLimit, fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String())
	}
	for i := range u.Containers {
		c := container(p, u.Containers[i].Name)
		if c == nil || !lives(p, c) {
			continue
		}
		has := int64(0)
		if l := u.Containers[i].Logs; l != nil {
			has += number(l.UsedBytes)
		}
		if r := u.Containers[i].Rootfs; r != nil && !split {
			has += number(r.UsedBytes)
		}
		if limit := c.Resources.Limits.StorageEphemeral(); !limit.IsZero() && has > limit.Value() {
			return containerLimit, fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit.String())
		}
	}
	return "", ""
}

// lives says whether a container is there as long as its pod.
func lives(p *core.Pod, c *core.Container) bool {
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Name == c.Name {
			return spec.Sidecar(c)
		}
	}
	return true
}
