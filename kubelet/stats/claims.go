package stats

import (
	"time"

	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kit/prom"
)

// WriteClaims writes how full the volumes of claims are, each claim once. That asks their drivers or file systems, and counts no files.
func (c *Collector) WriteClaims(p *prom.Page) {
	if c.Volume == nil {
		return
	}
	found := map[stats.PVCReference]*stats.FsStats{}
	var order []stats.PVCReference
	for _, pod := range c.Host.Pods() {
		for i := range pod.Spec.Volumes {
			v := &pod.Spec.Volumes[i]
			of := claimOf(pod, v)
			if of == nil || found[*of] != nil {
				continue
			}
			path, ok := c.Volume(pod, v)
			if !ok {
				continue
			}
			var f *stats.FsStats
			if c.Fill != nil {
				f = c.Fill(pod, v)
			}
			if f == nil {
				f = c.remote.fileSystem(path, time.Now(), fileSystem)
			}
			if f != nil {
				found[*of], order = f, append(order, *of)
			}
		}
	}
	for _, m := range []struct {
		name, help string
		get        func(*stats.FsStats) *uint64
	}{
		{"kubelet_volume_stats_available_bytes", "[ALPHA] Bytes that are free on the volume of a claim.", func(f *stats.FsStats) *uint64 { return f.AvailableBytes }},
		{"kubelet_volume_stats_capacity_bytes", "[ALPHA] Bytes of the volume of a claim.", func(f *stats.FsStats) *uint64 { return f.CapacityBytes }},
		{"kubelet_volume_stats_inodes", "[ALPHA] Inodes of the volume of a claim.", func(f *stats.FsStats) *uint64 { return f.Inodes }},
		{"kubelet_volume_stats_inodes_free", "[ALPHA] Inodes that are free on the volume of a claim.", func(f *stats.FsStats) *uint64 { return f.InodesFree }},
		{"kubelet_volume_stats_inodes_used", "[ALPHA] Inodes in use on the volume of a claim.", func(f *stats.FsStats) *uint64 { return f.InodesUsed }},
		{"kubelet_volume_stats_used_bytes", "[ALPHA] Bytes in use on the volume of a claim.", func(f *stats.FsStats) *uint64 { return f.UsedBytes }},
	} {
		p.Head(m.name, "gauge", m.help)
		for _, of := range order {
			if v := m.get(found[of]); v != nil {
				p.Value(prom.Labels("namespace", of.Namespace, "persistentvolumeclaim", of.Name), float64(*v))
			}
		}
	}
}
