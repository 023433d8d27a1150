package stats

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// families are cAdvisor's metrics that are told, by name.
func families() []family {
	out := []family{{
		name: "container_cpu_usage_seconds_total", kind: "counter", help: "CPU time used, in core-seconds.", label: `cpu="total"`,
		container: containerCPU, pod: func(p *stats.PodStats) (float64, time.Time, bool) { return cpuOf(p.CPU)() },
	}, {
		name: "container_fs_usage_bytes", kind: "gauge", help: "What a container has written to its layer, in bytes.",
		container: func(c *stats.ContainerStats) (float64, time.Time, bool) {
			if c.Rootfs == nil {
				return 0, time.Time{}, false
			}
			return known(c.Rootfs.UsedBytes, c.Rootfs.Time)
		},
	}}
	for _, m := range []struct {
		name, kind, help string
		get              func(*stats.MemoryStats) *uint64
	}{
		{"container_memory_rss", "gauge", "Anonymous memory, in bytes.", func(m *stats.MemoryStats) *uint64 { return m.RSSBytes }},
		{"container_memory_usage_bytes", "gauge", "Memory in use, with the page cache, in bytes.", func(m *stats.MemoryStats) *uint64 { return m.UsageBytes }},
		{"container_memory_working_set_bytes", "gauge", "Memory that cannot be dropped at once, in bytes.", func(m *stats.MemoryStats) *uint64 { return m.WorkingSetBytes }},
	} {
		one := func(s *stats.MemoryStats) (float64, time.Time, bool) {
			if s == nil {
				return 0, time.Time{}, false
			}
			return known(m.get(s), s.Time)
		}
		out = append(out, family{name: m.name, kind: m.kind, help: m.help,
			container: func(c *stats.ContainerStats) (float64, time.Time, bool) { return one(c.Memory) },
			pod:       func(p *stats.PodStats) (float64, time.Time, bool) { return one(p.Memory) }})
	}
	for _, l := range []struct {
		name, help string
		get        func(*stats.InterfaceStats) *uint64
	}{
		{"container_network_receive_bytes_total", "Bytes received.", func(i *stats.InterfaceStats) *uint64 { return i.RxBytes }},
		{"container_network_receive_errors_total", "Errors while receiving.", func(i *stats.InterfaceStats) *uint64 { return i.RxErrors }},
		{"container_network_transmit_bytes_total", "Bytes sent.", func(i *stats.InterfaceStats) *uint64 { return i.TxBytes }},
		{"container_network_transmit_errors_total", "Errors while sending.", func(i *stats.InterfaceStats) *uint64 { return i.TxErrors }},
	} {
		out = append(out, family{name: l.name, kind: "counter", help: l.help, link: l.get})
	}
	return append(append(out, pressures()...), family{
		name: "container_processes", kind: "gauge", help: "Processes of a pod.",
		pod: func(p *stats.PodStats) (float64, time.Time, bool) {
			if p.ProcessStats == nil {
				return 0, time.Time{}, false
			}
			return known(p.ProcessStats.ProcessCount, metav1.Time{})
		},
	}, family{
		name: "container_start_time_seconds", kind: "gauge", help: "When a container was started, in seconds since 1970.",
		container: func(c *stats.ContainerStats) (float64, time.Time, bool) {
			return seconds(c.StartTime), time.Time{}, !c.StartTime.IsZero()
		},
	})
}

// pressures are the times for which somebody (waiting) or everybody (stalled) has waited for a resource.
func pressures() (out []family) {
	for _, r := range []struct {
		name      string
		container func(*stats.ContainerStats) *stats.PSIStats
		pod       func(*stats.PodStats) *stats.PSIStats
	}{
		{"cpu", func(c *stats.ContainerStats) *stats.PSIStats {
			if c.CPU == nil {
				return nil
			}
			return c.CPU.PSI
		}, func(p *stats.PodStats) *stats.PSIStats {
			if p.CPU == nil {
				return nil
			}
			return p.CPU.PSI
		}},
		{"memory", func(c *stats.ContainerStats) *stats.PSIStats {
			if c.Memory == nil {
				return nil
			}
			return c.Memory.PSI
		}, func(p *stats.PodStats) *stats.PSIStats {
			if p.Memory == nil {
				return nil
			}
			return p.Memory.PSI
		}},
		{"io", func(c *stats.ContainerStats) *stats.PSIStats {
			if c.IO == nil {
				return nil
			}
			return c.IO.PSI
		}, func(p *stats.PodStats) *stats.PSIStats {
			if p.IO == nil {
				return nil
			}
			return p.IO.PSI
		}},
	} {
		for _, h := range []struct {
			how, help string
			total     func(*stats.PSIStats) uint64
		}{
			{"waiting", "Time for which some task has waited for " + r.name + ", in seconds.", func(p *stats.PSIStats) uint64 { return p.Some.Total }},
			{"stalled", "Time for which all tasks have waited for " + r.name + ", in seconds.", func(p *stats.PSIStats) uint64 { return p.Full.Total }},
		} {
			one := func(p *stats.PSIStats) (float64, time.Time, bool) {
				if p == nil {
					return 0, time.Time{}, false
				}
				return float64(h.total(p)) / 1e6, time.Time{}, true
			}
			out = append(out, family{name: "container_pressure_" + r.name + "_" + h.how + "_seconds_total", kind: "counter", help: h.help,
				container: func(c *stats.ContainerStats) (float64, time.Time, bool) { return one(r.container(c)) },
				pod:       func(p *stats.PodStats) (float64, time.Time, bool) { return one(r.pod(p)) }})
		}
	}
	return out
}
