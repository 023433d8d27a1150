package stats

import (
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// size is how much lies in a directory, or in one file.
type size struct {
	at     time.Time
	bytes  uint64 // on disk
	inodes uint64
}

// How long a size is good for, and when a single pod is asked for.
const (
	sizeFor    = time.Minute
	podSizeFor = 5 * time.Second
)

// storage adds what the pod has on disk: its volumes, and what of them, of its containers' layers and of their logs counts as
// ephemeral storage.
func (c *Collector) storage(p *podReading) {
	total := fileSystem(c.Node.Root, time.Now())
	if total == nil {
		return
	}
	total.UsedBytes, total.InodesUsed = new(uint64(0)), new(uint64(0))
	add := func(f *stats.FsStats) {
		if f != nil {
			total.UsedBytes, total.InodesUsed = plus(total.UsedBytes, f.UsedBytes), plus(total.InodesUsed, f.InodesUsed)
		}
	}
	for i := range p.out.Containers {
		add(p.out.Containers[i].Rootfs)
		add(p.out.Containers[i].Logs)
	}
	if p.pod != nil && c.Volume != nil {
		for i := range p.pod.Spec.Volumes {
			v := &p.pod.Spec.Volumes[i]
			path, ok := c.Volume(p.pod, v)
			if !ok {
				continue
			}
			var f *stats.FsStats
			if c.Fill != nil {
				f = c.Fill(p.pod, v)
			}
			switch {
			case f != nil:
			case v.PersistentVolumeClaim != nil, v.Ephemeral != nil, v.NFS != nil, v.ISCSI != nil, v.FC != nil:
				f = c.remote.fileSystem(path, time.Now(), fileSystem) // one of its own, as a rule
			default:
				f = c.files(path)
			}
			if f == nil {
				continue
			}
			p.out.VolumeStats = append(p.out.VolumeStats, stats.VolumeStats{Name: v.Name, FsStats: *f, PVCRef: claimOf(p.pod, v)})
			if isEphemeral(v) {
				add(f)
			}
		}
	}
	p.out.EphemeralStorage = total
}

// claimOf is the claim that a volume of a pod is of; nil: of none.
func claimOf(pod *core.Pod, v *core.Volume) *stats.PVCReference {
	switch {
	case v.PersistentVolumeClaim != nil:
		return &stats.PVCReference{Name: v.PersistentVolumeClaim.ClaimName, Namespace: pod.Namespace}
	case v.Ephemeral != nil:
		return &stats.PVCReference{Name: pod.Name + "-" + v.Name, Namespace: pod.Namespace}
	}
	return nil
}

// isEphemeral says whether a volume counts as the pod's ephemeral storage.
func isEphemeral(v *core.Volume) bool {
	if v.EmptyDir != nil {
		return v.EmptyDir.Medium == core.StorageMediumDefault
	}
	return v.ConfigMap != nil || v.DownwardAPI != nil // Secrets and tokens are in memory
}

// files is how much lies under path, on a file system of which statfs says the rest. It is counted anew when that was done too
// long ago; nil where there is nothing.
func (c *Collector) files(path string) *stats.FsStats {
	s, ok := c.sizes[path]
	if now := time.Now(); !ok || now.Sub(s.at) >= c.fresh {
		s = measure(path)
		s.at = now
		c.sizes[path] = s
	}
	out := fileSystem(path, s.at)
	if out == nil {
		return nil
	}
	out.Time, out.UsedBytes, out.InodesUsed = metav1.NewTime(s.at), &s.bytes, &s.inodes
	return out
}

// measure walks a directory, without what is mounted in it. A file with several names counts once. What vanishes or may not be read
// while it walks counts as nothing.
func measure(path string) (s size) {
	device, known := uint64(0), false
	links := map[uint64]bool{}
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error { // every error is passed over
		if err != nil {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if !known {
			device, known = st.Dev, true
		}
		if st.Dev != device {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.IsDir() && st.Nlink > 1 {
			if links[st.Ino] {
				return nil
			}
			links[st.Ino] = true
		}
		s.bytes += uint64(st.Blocks) * 512
		s.inodes++
		return nil
	})
	return s
}
