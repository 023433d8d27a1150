package evict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// usage finds what a pod uses; nil: nothing is known of it.
type usage func(*core.Pod) *stats.PodStats

// rank puts pods into the order in which they have to go so that there is more of what the signal measures: first those that use more
// than they asked for, among them those of low priority, among them those that use the most beyond what they asked for. Process ids
// can not be asked for. A pod of which nothing is known goes before all others. split says that images and the layers of containers
// lie on a file system of their own.
func rank(pods []*core.Pod, of usage, s Signal, split bool) {
	slices.SortStableFunc(pods, func(a, b *core.Pod) int {
		x, y := of(a), of(b)
		if x == nil || y == nil {
			return trueFirst(x == nil, y == nil)
		}
		over := func(p *core.Pod, u *stats.PodStats) int64 { return used(p, u, s, split) - asked(p, s) }
		exceeds := func(p *core.Pod, u *stats.PodStats) bool { return s != PIDAvailable && over(p, u) > 0 }
		return cmp.Or(
			trueFirst(exceeds(a, x), exceeds(b, y)),
			cmp.Compare(priority(a), priority(b)),
			cmp.Compare(over(b, y), over(a, x)),
		)
	})
}

func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func priority(p *core.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// asked is what the pod requests of what the signal measures.
func asked(p *core.Pod, s Signal) int64 {
	var name core.ResourceName
	switch m, _ := meaningOf(s); m.short {
	case core.ResourceMemory, core.ResourceEphemeralStorage:
		name = m.short
	default:
		return 0
	}
	q := podresource.PodRequests(p, podresource.PodResourcesOptions{})[name]
	return q.Value()
}

// used is what the pod uses of it.
func used(p *core.Pod, u *stats.PodStats, s Signal, split bool) int64 {
	m, _ := meaningOf(s)
	switch m.short {
	case core.ResourceMemory:
		if u.Memory != nil {
			return number(u.Memory.WorkingSetBytes)
		}
		return 0
	case pids:
		if u.ProcessStats != nil {
			return number(u.ProcessStats.ProcessCount)
		}
		return 0
	}
	layers, rest := true, true
	if split {
		layers = s != NodeFSAvailable && s != NodeFSInodesFree
		rest = !layers
	}
	n := int64(0)
	add := func(f *stats.FsStats) {
		if f == nil {
			return
		}
		if m.short == inodes {
			n += number(f.InodesUsed)
		} else {
			n += number(f.UsedBytes)
		}
	}
	for i := range u.Containers {
		if layers {
			add(u.Containers[i].Rootfs)
		}
		if rest {
			add(u.Containers[i].Logs)
		}
	}
	for i := range u.VolumeStats {
		if rest && localVolume(p, u.VolumeStats[i].Name) {
			add(&u.VolumeStats[i].FsStats)
		}
	}
	return n
}

func number(n *uint64) int64 {
	if n == nil {
		return 0
	}
	return int64(*n)
}

// localVolume says whether a volume lies on the node's own disk.
func localVolume(p *core.Pod, name string) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v core.Volume) bool {
		return v.Name == name && (v.HostPath != nil || v.ConfigMap != nil || v.DownwardAPI != nil ||
			v.EmptyDir != nil && v.EmptyDir.Medium != core.StorageMediumMemory)
	})
}

// because is the message of an eviction: what was short, and which containers use more of it than they asked for.
func because(p *core.Pod, u *stats.PodStats, t Threshold, l Level) string {
	m, _ := meaningOf(t.Signal)
	var b strings.Builder
	fmt.Fprintf(&b, "The node was low on resource: %v. ", m.short)
	fmt.Fprintf(&b, "Threshold quantity: %s, available: %s. ", show(m.short, t.Value.of(l.Capacity)), show(m.short, l.Available))
	if u == nil {
		return b.String()
	}
	if r := p.Spec.Resources; r != nil && m.short == core.ResourceMemory && u.Memory != nil {
		if q, ok := r.Requests[m.short]; ok {
			fmt.Fprintf(&b, "Pod %s was using %s, request is %s, has larger consumption of %v. ", p.Name, show(m.short, number(u.Memory.WorkingSetBytes)), q.String(), m.short)
		}
	}
	for i := range u.Containers {
		c := container(p, u.Containers[i].Name)
		if c == nil {
			continue
		}
		has, known := containerUse(&u.Containers[i], m.short)
		asked := c.Resources.Requests[m.short]
		if known && has > asked.Value() {
			fmt.Fprintf(&b, "Container %s was using %s, request is %s, has larger consumption of %v. ", c.Name, show(m.short, has), asked.String(), m.short)
		}
	}
	return b.String()
}

func containerUse(u *stats.ContainerStats, of core.ResourceName) (int64, bool) {
	switch of {
	case core.ResourceMemory:
		if u.Memory != nil && u.Memory.WorkingSetBytes != nil {
			return number(u.Memory.WorkingSetBytes), true
		}
	case core.ResourceEphemeralStorage:
		if u.Rootfs != nil && u.Rootfs.UsedBytes != nil && u.Logs != nil && u.Logs.UsedBytes != nil {
			return number(u.Rootfs.UsedBytes) + number(u.Logs.UsedBytes), true
		}
	}
	return 0, false
}

func show(of core.ResourceName, n int64) string {
	f := resource.BinarySI
	if of == inodes || of == pids {
		f = resource.DecimalSI
	}
	return resource.NewQuantity(n, f).String()
}

// container finds a container of the pod that can ask for resources.
func container(p *core.Pod, name string) *core.Container {
	for _, list := range [][]core.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
