package stats

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

func at(ns int64) metav1.Time { return metav1.NewTime(time.Unix(0, ns)) }

func value(v *runtimeapi.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	return new(v.GetValue())
}

// plus adds what is known.
func plus(a, b *uint64) *uint64 {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return new(*a + *b)
}

func memory(m *runtimeapi.MemoryUsage) *stats.MemoryStats {
	if m == nil {
		return nil
	}
	return &stats.MemoryStats{
		Time: at(m.GetTimestamp()), AvailableBytes: value(m.GetAvailableBytes()), UsageBytes: value(m.GetUsageBytes()),
		WorkingSetBytes: value(m.GetWorkingSetBytes()), RSSBytes: value(m.GetRssBytes()),
		PageFaults: value(m.GetPageFaults()), MajorPageFaults: value(m.GetMajorPageFaults()), PSI: pressure(m.GetPsi()),
	}
}

func inOut(u *runtimeapi.IoUsage) *stats.IOStats {
	if u == nil {
		return nil
	}
	return &stats.IOStats{Time: at(u.GetTimestamp()), PSI: pressure(u.GetPsi())}
}

func pressure(p *runtimeapi.PsiStats) *stats.PSIStats {
	if p == nil {
		return nil
	}
	one := func(d *runtimeapi.PsiData) stats.PSIData {
		return stats.PSIData{Total: d.GetTotal(), Avg10: d.GetAvg10(), Avg60: d.GetAvg60(), Avg300: d.GetAvg300()}
	}
	return &stats.PSIStats{Full: one(p.GetFull()), Some: one(p.GetSome())}
}

func network(n *runtimeapi.NetworkUsage) *stats.NetworkStats {
	if n == nil {
		return nil
	}
	out := &stats.NetworkStats{Time: at(n.GetTimestamp())}
	if d := n.GetDefaultInterface(); d != nil {
		out.InterfaceStats = link(d)
	}
	for _, i := range n.GetInterfaces() {
		out.Interfaces = append(out.Interfaces, link(i))
	}
	return out
}

func link(i *runtimeapi.NetworkInterfaceUsage) stats.InterfaceStats {
	return stats.InterfaceStats{Name: i.GetName(), RxBytes: value(i.GetRxBytes()), RxErrors: value(i.GetRxErrors()),
		TxBytes: value(i.GetTxBytes()), TxErrors: value(i.GetTxErrors())}
}

func sumCPU(list []stats.ContainerStats) (out *stats.CPUStats) {
	for i := range list {
		if c := list[i].CPU; c != nil {
			if out == nil {
				out = &stats.CPUStats{Time: c.Time}
			}
			out.UsageCoreNanoSeconds = plus(out.UsageCoreNanoSeconds, c.UsageCoreNanoSeconds)
			out.UsageNanoCores = plus(out.UsageNanoCores, c.UsageNanoCores)
		}
	}
	return out
}

func sumMemory(list []stats.ContainerStats) (out *stats.MemoryStats) {
	for i := range list {
		if m := list[i].Memory; m != nil {
			if out == nil {
				out = &stats.MemoryStats{Time: m.Time}
			}
			out.UsageBytes = plus(out.UsageBytes, m.UsageBytes)
			out.WorkingSetBytes = plus(out.WorkingSetBytes, m.WorkingSetBytes)
			out.RSSBytes = plus(out.RSSBytes, m.RSSBytes)
			out.PageFaults = plus(out.PageFaults, m.PageFaults)
			out.MajorPageFaults = plus(out.MajorPageFaults, m.MajorPageFaults)
		}
	}
	return out
}
