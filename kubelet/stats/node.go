package stats

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kit/numbers"
)

// node is what the kernel says of the whole machine. What it does not say is left out.
func (c *Collector) node(cpuAndMemory bool) stats.NodeStats {
	now := time.Now()
	out := stats.NodeStats{NodeName: c.Node.Name, StartTime: metav1.NewTime(c.booted(now))}
	if used, ok := c.busy(); ok {
		out.CPU = &stats.CPUStats{Time: metav1.NewTime(now), UsageCoreNanoSeconds: &used, UsageNanoCores: c.rate("node", now, used), PSI: c.psi("cpu")}
	}
	out.Memory, out.Swap = c.memory(now)
	if cpuAndMemory {
		return out
	}
	if psi := c.psi("io"); psi != nil {
		out.IO = &stats.IOStats{Time: metav1.NewTime(now), PSI: psi}
	}
	out.Network = c.network(now)
	out.Rlimit = c.processes(now)
	return out
}

// read is a file under /proc; what is not there is empty.
func (c *Collector) read(name string) []byte {
	b, err := os.ReadFile(filepath.Join(c.Proc, name))
	if err != nil {
		return nil // proc(5): which files there are depends on the kernel
	}
	return b
}

// clockTick is the unit of /proc/stat: USER_HZ is 100 on every architecture that Go runs on.
const clockTick = uint64(time.Second / 100)

// busy is the CPU time that was not idle since the machine started, in nanoseconds.
func (c *Collector) busy() (uint64, bool) {
	line, _, _ := strings.Cut(string(c.read("stat")), "\n")
	f := strings.Fields(line)
	if len(f) < 8 || f[0] != "cpu" {
		return 0, false
	}
	var ticks uint64
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq: proc_stat(5)
		n, err := strconv.ParseUint(f[i], 10, 64)
		if err != nil {
			return 0, false
		}
		ticks += n
	}
	return ticks * clockTick, true
}

func (c *Collector) booted(now time.Time) time.Time {
	if at := numbers.Parse(c.read("stat"))["btime"]; at != 0 {
		return time.Unix(int64(at), 0)
	}
	return now
}

// memory counts as in use what is not free, and as the working set what could not be dropped at once.
func (c *Collector) memory(now time.Time) (*stats.MemoryStats, *stats.SwapStats) {
	m := numbers.Parse(c.read("meminfo"))
	total, ok := m["MemTotal"]
	if !ok {
		return nil, nil
	}
	faults := numbers.Parse(c.read("vmstat"))
	usage := total - min(total, m["MemFree"])
	working := usage - min(usage, m["Inactive(file)"])
	out := &stats.MemoryStats{
		Time: metav1.NewTime(now), AvailableBytes: new(total - working), UsageBytes: &usage, WorkingSetBytes: &working,
		RSSBytes: new(m["AnonPages"]), PageFaults: new(faults["pgfault"]), MajorPageFaults: new(faults["pgmajfault"]), PSI: c.psi("memory"),
	}
	swap := &stats.SwapStats{Time: metav1.NewTime(now), SwapAvailableBytes: new(m["SwapFree"]),
		SwapUsageBytes: new(m["SwapTotal"] - min(m["SwapTotal"], m["SwapFree"]))}
	return out, swap
}

// network counts the machine's own links: those of pods are theirs.
func (c *Collector) network(now time.Time) *stats.NetworkStats {
	out := &stats.NetworkStats{Time: metav1.NewTime(now)}
	way := c.wayOut()
	for in := bufio.NewScanner(bytes.NewReader(c.read("net/dev"))); in.Scan(); {
		name, figures, ok := strings.Cut(in.Text(), ":")
		name = strings.TrimSpace(name)
		f := strings.Fields(figures)
		if !ok || len(f) < 16 || name == "lo" || strings.HasPrefix(name, "veth") {
			continue
		}
		n := func(i int) *uint64 {
			v, err := strconv.ParseUint(f[i], 10, 64)
			if err != nil {
				return nil
			}
			return &v
		}
		i := stats.InterfaceStats{Name: name, RxBytes: n(0), RxErrors: n(2), TxBytes: n(8), TxErrors: n(10)}
		out.Interfaces = append(out.Interfaces, i)
		if name == way {
			out.InterfaceStats = i
		}
	}
	return out
}

// wayOut is the link of the default route.
func (c *Collector) wayOut() string {
	for in := bufio.NewScanner(bytes.NewReader(c.read("net/route"))); in.Scan(); {
		if f := strings.Fields(in.Text()); len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			return f[0]
		}
	}
	return ""
}

// processes counts tasks, of which there may be as many as the kernel's smaller limit.
func (c *Collector) processes(now time.Time) *stats.RlimitStats {
	number := func(name string) *int64 {
		n, err := strconv.ParseInt(strings.TrimSpace(string(c.read(name))), 10, 64)
		if err != nil {
			return nil
		}
		return &n
	}
	most := number("sys/kernel/pid_max")
	if threads := number("sys/kernel/threads-max"); most == nil || threads != nil && *threads < *most {
		most = threads
	}
	f := strings.Fields(string(c.read("loadavg")))
	if most == nil || len(f) < 4 {
		return nil
	}
	_, all, _ := strings.Cut(f[3], "/")
	n, err := strconv.ParseInt(all, 10, 64)
	if err != nil {
		return nil
	}
	return &stats.RlimitStats{Time: metav1.NewTime(now), MaxPID: most, NumOfRunningProcesses: &n}
}

// psi is pressure stall information of "cpu", "memory" or "io"; nil where the kernel keeps none.
func (c *Collector) psi(what string) *stats.PSIStats { return parsePSI(c.read("pressure/" + what)) }

func parsePSI(b []byte) *stats.PSIStats {
	if len(b) == 0 {
		return nil
	}
	var out stats.PSIStats
	for line := range strings.Lines(string(b)) {
		var d stats.PSIData
		f := strings.Fields(line)
		for _, word := range f[min(1, len(f)):] {
			key, text, _ := strings.Cut(word, "=")
			v, err := strconv.ParseFloat(text, 64)
			if err != nil || !(v >= 0 && v < 1<<63) { // neither NaN, which JSON has no word for
				continue
			}
			switch key {
			case "avg10":
				d.Avg10 = v
			case "avg60":
				d.Avg60 = v
			case "avg300":
				d.Avg300 = v
			case "total":
				d.Total = uint64(v)
			}
		}
		switch {
		case strings.HasPrefix(line, "some"):
			out.Some = d
		case strings.HasPrefix(line, "full"):
			out.Full = d
		}
	}
	return &out
}

// fileSystem is what statfs says of the file system that path is on; nil where it says nothing.
func fileSystem(path string, now time.Time) *stats.FsStats {
	var st unix.Statfs_t
	if path == "" || unix.Statfs(path, &st) != nil {
		return nil
	}
	block := uint64(st.Bsize)
	return &stats.FsStats{
		Time: metav1.NewTime(now), AvailableBytes: new(st.Bavail * block), CapacityBytes: new(st.Blocks * block),
		UsedBytes: new((st.Blocks - st.Bfree) * block), InodesFree: new(st.Ffree), Inodes: new(st.Files), InodesUsed: new(st.Files - st.Ffree),
	}
}

// imageFileSystems are those of images and of what containers write.
func (c *Collector) imageFileSystems(ctx context.Context) (*stats.RuntimeStats, error) {
	if c.Images == nil {
		return nil, nil
	}
	r, err := c.Images.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
	if err != nil {
		return nil, err
	}
	one := func(list []*runtimeapi.FilesystemUsage) *stats.FsStats {
		if len(list) == 0 {
			return nil
		}
		u := list[0]
		out := fileSystem(u.GetFsId().GetMountpoint(), time.Unix(0, u.GetTimestamp()))
		if out == nil {
			out = &stats.FsStats{Time: at(u.GetTimestamp())}
		}
		out.UsedBytes, out.InodesUsed = value(u.GetUsedBytes()), value(u.GetInodesUsed())
		return out
	}
	return &stats.RuntimeStats{ImageFs: one(r.GetImageFilesystems()), ContainerFs: one(r.GetContainerFilesystems())}, nil
}

// system is this process, and all pods together.
func (c *Collector) system(pods []stats.PodStats) []stats.ContainerStats {
	now := metav1.Now()
	all := make([]stats.ContainerStats, len(pods))
	for i := range pods {
		all[i].CPU, all[i].Memory = pods[i].CPU, pods[i].Memory
	}
	out := []stats.ContainerStats{{Name: stats.SystemContainerPods, StartTime: metav1.NewTime(c.began), CPU: sumCPU(all), Memory: sumMemory(all)}}
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return out
	}
	used := uint64(u.Utime.Nano() + u.Stime.Nano())
	me := stats.ContainerStats{Name: stats.SystemContainerKubelet, StartTime: metav1.NewTime(c.began),
		CPU: &stats.CPUStats{Time: now, UsageCoreNanoSeconds: &used, UsageNanoCores: c.rate("kubelet", now.Time, used)}}
	if f := strings.Fields(string(c.read("self/statm"))); len(f) > 2 {
		resident, err1 := strconv.ParseUint(f[1], 10, 64)
		shared, err2 := strconv.ParseUint(f[2], 10, 64)
		if page := uint64(os.Getpagesize()); err1 == nil && err2 == nil {
			me.Memory = &stats.MemoryStats{Time: now, UsageBytes: new(resident * page), WorkingSetBytes: new(resident * page),
				RSSBytes: new((resident - min(resident, shared)) * page), PageFaults: new(uint64(u.Minflt + u.Majflt)), MajorPageFaults: new(uint64(u.Majflt))}
		}
	}
	return append(out, me)
}
