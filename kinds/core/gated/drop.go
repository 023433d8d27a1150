package gated

import (
	core "k8s.io/api/core/v1"
)

// features are what is switched off: each says whether a spec uses it, and takes it away if drop is set.
var features = [...]func(s *core.PodSpec, drop bool) bool{
	schedulingGroup, evictionResponders, emptyDirMode, volumeUsers, bindMountOptions, stopSignal, probeProtocol, probeTLS,
}

// Drop takes from s what is switched off, unless old has it already; old is nil on create.
func Drop(s, old *core.PodSpec) {
	for _, uses := range features {
		if !uses(s, false) || old != nil && uses(old, false) {
			continue
		}
		uses(s, true)
	}
}

// Prepare does for the objects of a kind that has a template of pods what Drop does for a pod; of finds the template.
func Prepare[T any](of func(*T) *core.PodSpec) func(obj, old *T) {
	return func(obj, old *T) {
		if old == nil {
			Drop(of(obj), nil)
			return
		}
		Drop(of(obj), of(old))
	}
}

// unset says whether a field is set, and unsets it if drop is set.
func unset[T any](field **T, drop bool) bool {
	used := *field != nil
	if used && drop {
		*field = nil
	}
	return used
}

func schedulingGroup(s *core.PodSpec, drop bool) bool { return unset(&s.SchedulingGroup, drop) } // GenericWorkload

func evictionResponders(s *core.PodSpec, drop bool) bool { // EvictionRequestAPI
	used := len(s.EvictionResponders) > 0
	if drop {
		s.EvictionResponders = nil
	}
	return used
}

func emptyDirMode(s *core.PodSpec, drop bool) (used bool) { // EmptyDirVolumeMode
	for i := range s.Volumes {
		if e := s.Volumes[i].EmptyDir; e != nil {
			used = unset(&e.Mode, drop) || used
		}
	}
	return used
}

func volumeUsers(s *core.PodSpec, drop bool) (used bool) { // AtomicWriteVolumeUserFields
	one := func(field **int64) { used = unset(field, drop) || used }
	keys := func(items []core.KeyToPath) {
		for i := range items {
			one(&items[i].User)
		}
	}
	files := func(items []core.DownwardAPIVolumeFile) {
		for i := range items {
			one(&items[i].User)
		}
	}
	for i := range s.Volumes {
		v := &s.Volumes[i]
		if v.Secret != nil {
			one(&v.Secret.DefaultUser)
			keys(v.Secret.Items)
		}
		if v.ConfigMap != nil {
			one(&v.ConfigMap.DefaultUser)
			keys(v.ConfigMap.Items)
		}
		if v.DownwardAPI != nil {
			one(&v.DownwardAPI.DefaultUser)
			files(v.DownwardAPI.Items)
		}
		if v.Projected != nil {
			one(&v.Projected.DefaultUser)
			for j := range v.Projected.Sources {
				projected(&v.Projected.Sources[j], one, keys, files)
			}
		}
	}
	return used
}

func projected(p *core.VolumeProjection, one func(**int64), keys func([]core.KeyToPath), files func([]core.DownwardAPIVolumeFile)) {
	if p.Secret != nil {
		keys(p.Secret.Items)
	}
	if p.ConfigMap != nil {
		keys(p.ConfigMap.Items)
	}
	if p.DownwardAPI != nil {
		files(p.DownwardAPI.Items)
	}
	if p.ServiceAccountToken != nil {
		one(&p.ServiceAccountToken.User)
	}
	if p.ClusterTrustBundle != nil {
		one(&p.ClusterTrustBundle.User)
	}
	if p.PodCertificate != nil {
		one(&p.PodCertificate.User)
	}
}

// containers calls f for each container.
func containers(s *core.PodSpec, f func(*core.Container)) {
	for i := range s.InitContainers {
		f(&s.InitContainers[i])
	}
	for i := range s.Containers {
		f(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		f((*core.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

func bindMountOptions(s *core.PodSpec, drop bool) (used bool) { // VolumeBindMountOptions
	containers(s, func(c *core.Container) {
		for i := range c.VolumeMounts {
			m := &c.VolumeMounts[i]
			used = used || len(m.BindMountOptions) > 0
			if drop {
				m.BindMountOptions = nil
			}
		}
	})
	return used
}

func stopSignal(s *core.PodSpec, drop bool) (used bool) { // ContainerStopSignals
	containers(s, func(c *core.Container) {
		if c.Lifecycle == nil || !unset(&c.Lifecycle.StopSignal, drop) {
			return
		}
		used = true
		if *c.Lifecycle == (core.Lifecycle{}) {
			c.Lifecycle = nil
		}
	})
	return used
}

func probes(c *core.Container) [3]*core.Probe {
	return [...]*core.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe}
}

func probeProtocol(s *core.PodSpec, drop bool) (used bool) { // H2CContainerProbe
	one := func(g *core.HTTPGetAction) { used = g != nil && unset(&g.Protocol, drop) || used }
	containers(s, func(c *core.Container) {
		for _, p := range probes(c) {
			if p != nil {
				one(p.HTTPGet)
			}
		}
		if c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
			one(c.Lifecycle.PostStart.HTTPGet)
		}
		if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
			one(c.Lifecycle.PreStop.HTTPGet)
		}
	})
	return used
}

func probeTLS(s *core.PodSpec, drop bool) (used bool) { // GRPCContainerProbeTLS
	containers(s, func(c *core.Container) {
		for _, p := range probes(c) {
			if p != nil && p.GRPC != nil {
				used = unset(&p.GRPC.Mode, drop) || used
			}
		}
	})
	return used
}
