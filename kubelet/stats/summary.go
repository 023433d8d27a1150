package stats

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/spec"
)

// Host is what a Collector asks of the kubelet.
type Host interface {
	// Pods are the pods of this node as the API last had them.
	Pods() []*core.Pod
	// Observed is what the runtime has of a pod; ok is false if the kubelet does not know it.
	Observed(ctx context.Context, uid types.UID) (observe.Pod, bool)
}

// Deps are what a Collector needs.
type Deps struct {
	Runtime cri.Runtime
	Images  cri.Images // nil: nothing is said of image file systems
	Host    Host
	Node    *spec.Node
	// Volume says where a volume of a pod lies; ok is false for those that have no directory of their own. Nil: none has.
	Volume func(pod *core.Pod, v *core.Volume) (path string, ok bool)
	// Fill is what others say of the fill of a volume: bytes and inodes; nil where they do not. Nil: nobody does.
	Fill func(pod *core.Pod, v *core.Volume) *stats.FsStats
	Proc string // default "/proc"
}

// Collector takes readings when asked.
type Collector struct {
	Deps
	began time.Time

	remote remote // asks the volumes of others

	mu    sync.Mutex // guards what follows; one reading at a time
	rates map[string]reading
	sizes map[string]size
	fresh time.Duration // how old a size may be in this reading
}

// New takes no reading yet.
func New(d Deps) *Collector {
	if d.Proc == "" {
		d.Proc = "/proc"
	}
	return &Collector{Deps: d, began: time.Now(), rates: map[string]reading{}, sizes: map[string]size{}}
}

// reading is what a counter of CPU time said, and the rate that it had grown by.
type reading struct {
	at    time.Time
	total uint64 // ns
	rate  uint64 // ns per s
	known bool   // rate is
}

// rateOver is over how long a rate is taken at least.
const rateOver = time.Second

// Summary takes a reading. cpuAndMemory leaves everything else out, which is much cheaper.
func (c *Collector) Summary(ctx context.Context, cpuAndMemory bool) (*stats.Summary, error) {
	sandboxes, containers, err := c.ask(ctx, map[string]string{observe.Node: c.Node.Name}) // the runtime may be shared
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = sizeFor
	out := &stats.Summary{Node: c.node(cpuAndMemory)}
	if !cpuAndMemory {
		out.Node.Fs = fileSystem(c.Node.Root, time.Now())
		if out.Node.Runtime, err = c.imageFileSystems(ctx); err != nil {
			return nil, err
		}
	}
	out.Pods = c.pods(ctx, sandboxes, containers, cpuAndMemory)
	if !cpuAndMemory {
		out.Node.SystemContainers = c.system(out.Pods)
	}
	c.forget(time.Now())
	return out, nil
}

// Pod takes a reading of one pod, with sizes of its files that are a few seconds old at most; nil if the runtime has nothing of it.
func (c *Collector) Pod(ctx context.Context, uid types.UID) (*stats.PodStats, error) {
	sandboxes, containers, err := c.ask(ctx, map[string]string{observe.Node: c.Node.Name, observe.PodUID: string(uid)})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = podSizeFor
	for _, p := range c.pods(ctx, sandboxes, containers, false) {
		if p.PodRef.UID == string(uid) {
			return &p, nil
		}
	}
	return nil, nil
}

// ask takes the readings of the sandboxes with these labels, and of their containers. A runtime that has no figures of sandboxes is asked
// for its containers.
func (c *Collector) ask(ctx context.Context, of map[string]string) (sandboxes []*runtimeapi.PodSandboxStats, containers []*runtimeapi.ContainerStats, err error) {
	r, err := c.Runtime.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{Filter: &runtimeapi.PodSandboxStatsFilter{LabelSelector: of}})
	if err != nil {
		return nil, nil, err
	}
	for _, s := range r.GetStats() {
		containers = append(containers, s.GetLinux().GetContainers()...)
	}
	if len(r.GetStats()) > 0 {
		return r.GetStats(), containers, nil
	}
	l, err := c.Runtime.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
	return nil, l.GetStats(), err
}

// keep is for how long something is kept that nobody asks for: what belongs to pods that are gone is not asked for any more.
const keep = 10 * time.Minute

func (c *Collector) forget(now time.Time) {
	maps.DeleteFunc(c.rates, func(_ string, r reading) bool { return now.Sub(r.at) > keep })
	maps.DeleteFunc(c.sizes, func(_ string, s size) bool { return now.Sub(s.at) > keep })
}

// pods joins what the runtime says of sandboxes and of containers to what the kubelet knows of them.
func (c *Collector) pods(ctx context.Context, sandboxes []*runtimeapi.PodSandboxStats, containers []*runtimeapi.ContainerStats, cpuAndMemory bool) []stats.PodStats {
	known := map[types.UID]*core.Pod{}
	for _, p := range c.Host.Pods() {
		known[p.UID] = p
	}
	byUID := map[types.UID]*podReading{}
	find := func(labels map[string]string) *podReading {
		uid, ns, name, ok := observe.Identity(labels)
		if !ok {
			return nil
		}
		p := byUID[uid]
		if p == nil {
			p = &podReading{pod: known[uid]}
			p.out.PodRef = stats.PodReference{Namespace: ns, Name: name, UID: string(uid)}
			p.seen, _ = c.Host.Observed(ctx, uid) // what is not known has no times
			byUID[uid] = p
		}
		return p
	}
	for _, s := range sandboxes {
		if p := find(s.GetAttributes().GetLabels()); p != nil {
			c.sandbox(p, s)
		}
	}
	for _, s := range containers {
		if p := find(s.GetAttributes().GetLabels()); p != nil {
			p.out.Containers = append(p.out.Containers, c.container(p, s, cpuAndMemory))
		}
	}
	list := []stats.PodStats{}
	for _, p := range byUID {
		slices.SortFunc(p.out.Containers, func(a, b stats.ContainerStats) int { return cmp.Compare(a.Name, b.Name) })
		p.complete()
		if cpuAndMemory {
			p.out.Network, p.out.ProcessStats = nil, nil
		} else {
			c.storage(p)
		}
		list = append(list, p.out)
	}
	slices.SortFunc(list, func(a, b stats.PodStats) int {
		return cmp.Or(cmp.Compare(a.PodRef.Namespace, b.PodRef.Namespace), cmp.Compare(a.PodRef.Name, b.PodRef.Name), cmp.Compare(a.PodRef.UID, b.PodRef.UID))
	})
	return list
}

// podReading is what is found out about one pod.
type podReading struct {
	pod  *core.Pod // nil: gone from the API
	seen observe.Pod
	out  stats.PodStats
}

func (c *Collector) sandbox(p *podReading, s *runtimeapi.PodSandboxStats) {
	if newest := p.seen.Sandbox(); newest != nil {
		if newest.ID != s.GetAttributes().GetId() {
			return // an older one, on its way out
		}
		p.out.StartTime = metav1.NewTime(newest.Created)
	}
	linux := s.GetLinux()
	p.out.CPU = c.cpu("pod/"+p.out.PodRef.UID, linux.GetCpu())
	p.out.Memory = memory(linux.GetMemory())
	p.out.IO = inOut(linux.GetIo())
	p.out.Network = network(linux.GetNetwork())
	if n := linux.GetProcess().GetProcessCount(); n != nil {
		p.out.ProcessStats = &stats.ProcessStats{ProcessCount: value(n)}
	}
}

// complete adds the containers up where the runtime says nothing of the pod as a whole.
func (p *podReading) complete() {
	if p.out.CPU == nil {
		p.out.CPU = sumCPU(p.out.Containers)
	}
	if p.out.Memory == nil {
		p.out.Memory = sumMemory(p.out.Containers)
	}
	for i := range p.out.Containers {
		if s := p.out.Containers[i].Swap; s != nil {
			if p.out.Swap == nil {
				p.out.Swap = &stats.SwapStats{Time: s.Time}
			}
			p.out.Swap.SwapUsageBytes = plus(p.out.Swap.SwapUsageBytes, s.SwapUsageBytes)
			p.out.Swap.SwapAvailableBytes = plus(p.out.Swap.SwapAvailableBytes, s.SwapAvailableBytes)
		}
	}
}

func (c *Collector) container(p *podReading, s *runtimeapi.ContainerStats, cpuAndMemory bool) stats.ContainerStats {
	id := s.GetAttributes().GetId()
	out := stats.ContainerStats{Name: s.GetAttributes().GetMetadata().GetName()}
	seen := p.seen.ByID(id)
	if seen != nil && !seen.Started.IsZero() {
		out.StartTime = metav1.NewTime(seen.Started)
	}
	out.CPU, out.Memory = c.cpu("container/"+id, s.GetCpu()), memory(s.GetMemory())
	if swap := s.GetSwap(); swap != nil {
		out.Swap = &stats.SwapStats{Time: at(swap.GetTimestamp()), SwapUsageBytes: value(swap.GetSwapUsageBytes()),
			SwapAvailableBytes: value(swap.GetSwapAvailableBytes())}
	}
	if cpuAndMemory {
		return out
	}
	out.IO = inOut(s.GetIo())
	if w := s.GetWritableLayer(); w != nil {
		out.Rootfs = fileSystem(w.GetFsId().GetMountpoint(), time.Unix(0, w.GetTimestamp()))
		if out.Rootfs == nil {
			out.Rootfs = &stats.FsStats{Time: at(w.GetTimestamp())}
		}
		out.Rootfs.UsedBytes, out.Rootfs.InodesUsed = value(w.GetUsedBytes()), value(w.GetInodesUsed())
	}
	if seen != nil && seen.LogPath != "" {
		out.Logs = c.files(seen.LogPath)
	}
	return out
}

// cpu is a reading of CPU time, with the rate since an earlier one.
func (c *Collector) cpu(key string, u *runtimeapi.CpuUsage) *stats.CPUStats {
	if u.GetUsageCoreNanoSeconds() == nil {
		return nil
	}
	out := &stats.CPUStats{Time: at(u.GetTimestamp()), UsageCoreNanoSeconds: value(u.GetUsageCoreNanoSeconds()),
		UsageNanoCores: value(u.GetUsageNanoCores()), PSI: pressure(u.GetPsi())}
	if out.UsageNanoCores == nil {
		out.UsageNanoCores = c.rate(key, out.Time.Time, *out.UsageCoreNanoSeconds)
	}
	return out
}

// rate is how fast a counter grows, nil after one reading only.
func (c *Collector) rate(key string, now time.Time, total uint64) *uint64 {
	old, ok := c.rates[key]
	next := reading{at: now, total: total}
	passed := now.Sub(old.at)
	switch {
	case !ok || total < old.total: // new, or another container of the same name
	case passed < rateOver:
		next = old
	default:
		next.rate, next.known = uint64(float64(total-old.total)/passed.Seconds()), true
	}
	c.rates[key] = next
	if !next.known {
		return nil
	}
	return &next.rate
}
