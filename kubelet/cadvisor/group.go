package cadvisor

import (
	"path/filepath"
	"strconv"
	"strings"

	"proa.dev/kit/numbers"
)

// unlimited is from where on a limit of v1 is none: the kernel rounds the largest number.
const unlimited = 1 << 62

// Units of the kernel's counters, in seconds.
const (
	micro = 1e-6
	nano  = 1e-9
	tick  = 0.01 // USER_HZ is 100 on every architecture that Go runs on
)

// groupV2 reads a group of v2 (Documentation/admin-guide/cgroup-v2.rst).
func (t *tree) groupV2(r *reading, dir string) {
	cpu := numbers.Read(filepath.Join(dir, "cpu.stat"))
	r.from("container_cpu_usage_seconds_total", cpu, "usage_usec", micro, "cpu", "total")
	r.from("container_cpu_user_seconds_total", cpu, "user_usec", micro)
	r.from("container_cpu_system_seconds_total", cpu, "system_usec", micro)
	quota := false
	for line := range lines(filepath.Join(dir, "cpu.max")) { // "50000 100000" or "max 100000"
		f := strings.Fields(line)
		if len(f) < 2 {
			break
		}
		if n, err := strconv.ParseUint(f[0], 10, 64); err == nil {
			quota = true
			r.put("container_spec_cpu_quota", float64(n))
		}
		if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
			r.put("container_spec_cpu_period", float64(n))
		}
	}
	if quota {
		r.throttling(cpu, "throttled_usec", "burst_usec", micro)
	}
	if weight, ok := number(filepath.Join(dir, "cpu.weight")); ok && weight > 0 {
		r.put("container_spec_cpu_shares", float64(2+(weight-1)*262142/9999)) // as v1 counts, from 2 to 262144
	}
	stat := numbers.Read(filepath.Join(dir, "memory.stat"))
	usage, ok := number(filepath.Join(dir, "memory.current"))
	if !ok && len(stat) > 0 { // the root has none
		usage, ok = stat["anon"]+stat["file"], true
	}
	if ok {
		r.memory(usage, stat, map[string]string{
			"container_memory_cache": "file", "container_memory_rss": "anon", "container_memory_mapped_file": "file_mapped",
			"container_memory_kernel_usage": "kernel", "container_memory_total_active_file_bytes": "active_file",
			"container_memory_total_inactive_file_bytes": "inactive_file",
		})
	}
	r.number("container_memory_max_usage_bytes", dir, "memory.peak", 1)
	r.number("container_memory_swap", dir, "memory.swap.current", 1)
	events := numbers.Read(filepath.Join(dir, "memory.events"))
	r.from("container_memory_events_high_total", events, "high", 1)
	r.from("container_memory_events_max_total", events, "max", 1)
	r.from("container_memory_failcnt", events, "max", 1)
	r.from("container_oom_events_total", events, "oom_kill", 1)
	r.limit("container_spec_memory_limit_bytes", dir, "memory.max")
	r.limit("container_spec_memory_swap_limit_bytes", dir, "memory.swap.max")
	r.limit("container_spec_memory_reservation_limit_bytes", dir, "memory.min")
	r.number("container_threads", dir, "pids.current", 1)
	r.limit("container_threads_max", dir, "pids.max")
	t.ioV2(r, dir)
	for _, what := range []string{"cpu", "memory", "io"} {
		for line := range lines(filepath.Join(dir, what+".pressure")) { // "some avg10=0.00 avg60=0.00 avg300=0.00 total=0"
			_, text, _ := strings.Cut(strings.TrimSpace(line), " total=")
			total, err := strconv.ParseUint(text, 10, 64)
			how := map[bool]string{true: "waiting", false: "stalled"}[strings.HasPrefix(line, "some ")]
			if err == nil {
				r.put("container_pressure_"+what+"_"+how+"_seconds_total", float64(total)*micro)
			}
		}
	}
}

// ioV2 reads io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0".
func (t *tree) ioV2(r *reading, dir string) {
	for line := range lines(filepath.Join(dir, "io.stat")) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		for _, word := range f[1:] {
			key, text, _ := strings.Cut(word, "=")
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				continue
			}
			switch key {
			case "rbytes":
				t.moved(r, f[0], "Read", n)
			case "wbytes":
				t.moved(r, f[0], "Write", n)
			case "rios":
				r.put("container_fs_reads_total", float64(n), "device", t.names[f[0]])
			case "wios":
				r.put("container_fs_writes_total", float64(n), "device", t.names[f[0]])
			case "cost.usage", "cost.wait", "cost.indebt", "cost.indelay":
				r.put("container_fs_io_"+strings.Replace(key, ".", "_", 1)+"_seconds_total", float64(n)*micro, "device", t.names[f[0]])
			}
		}
	}
}

// moved puts bytes of a device, "8:0", that were read, written, or something else.
func (t *tree) moved(r *reading, device, how string, n uint64) {
	switch how {
	case "Read":
		r.put("container_fs_reads_bytes_total", float64(n), "device", t.names[device])
	case "Write":
		r.put("container_fs_writes_bytes_total", float64(n), "device", t.names[device])
	}
	major, minor, _ := strings.Cut(device, ":")
	r.put("container_blkio_device_usage_total", float64(n), "device", t.names[device], "major", major, "minor", minor, "operation", how)
}

// groupV1 reads a group of v1, which has a directory for each controller; a controller that is not mounted has none.
func (t *tree) groupV1(r *reading, dirs map[string]string) {
	if dir := dirs["cpuacct"]; dir != "" {
		r.number("container_cpu_usage_seconds_total", dir, "cpuacct.usage", nano, "cpu", "total")
		used := numbers.Read(filepath.Join(dir, "cpuacct.stat"))
		r.from("container_cpu_user_seconds_total", used, "user", tick)
		r.from("container_cpu_system_seconds_total", used, "system", tick)
	}
	if dir := dirs["cpu"]; dir != "" {
		r.number("container_spec_cpu_shares", dir, "cpu.shares", 1)
		r.number("container_spec_cpu_period", dir, "cpu.cfs_period_us", 1)
		if quota, ok := number(filepath.Join(dir, "cpu.cfs_quota_us")); ok { // -1 is no such number
			r.put("container_spec_cpu_quota", float64(quota))
			r.throttling(numbers.Read(filepath.Join(dir, "cpu.stat")), "throttled_time", "burst_time", nano)
		}
	}
	if dir := dirs["memory"]; dir != "" {
		if usage, ok := number(filepath.Join(dir, "memory.usage_in_bytes")); ok {
			r.memory(usage, numbers.Read(filepath.Join(dir, "memory.stat")), map[string]string{
				"container_memory_cache": "total_cache", "container_memory_rss": "total_rss", "container_memory_mapped_file": "total_mapped_file",
				"container_memory_swap": "total_swap", "container_memory_total_active_file_bytes": "total_active_file",
				"container_memory_total_inactive_file_bytes": "total_inactive_file",
			})
		}
		r.number("container_memory_max_usage_bytes", dir, "memory.max_usage_in_bytes", 1)
		r.number("container_memory_kernel_usage", dir, "memory.kmem.usage_in_bytes", 1)
		r.number("container_memory_failcnt", dir, "memory.failcnt", 1)
		r.from("container_oom_events_total", numbers.Read(filepath.Join(dir, "memory.oom_control")), "oom_kill", 1)
		r.limit("container_spec_memory_limit_bytes", dir, "memory.limit_in_bytes")
		r.limit("container_spec_memory_swap_limit_bytes", dir, "memory.memsw.limit_in_bytes")
		r.limit("container_spec_memory_reservation_limit_bytes", dir, "memory.soft_limit_in_bytes")
	}
	if dir := dirs["pids"]; dir != "" {
		r.number("container_threads", dir, "pids.current", 1)
		r.limit("container_threads_max", dir, "pids.max")
	}
	if dir := dirs["blkio"]; dir != "" {
		t.ioV1(r, dir)
	}
}

// ioV1 reads what passed a group and those below it, in lines as "8:0 Read 4096".
func (t *tree) ioV1(r *reading, dir string) {
	for line := range lines(filepath.Join(dir, "blkio.throttle.io_service_bytes_recursive")) {
		if f := strings.Fields(line); len(f) == 3 {
			if n, err := strconv.ParseUint(f[2], 10, 64); err == nil {
				t.moved(r, f[0], f[1], n)
			}
		}
	}
	for line := range lines(filepath.Join(dir, "blkio.throttle.io_serviced_recursive")) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		name := map[string]string{"Read": "container_fs_reads_total", "Write": "container_fs_writes_total"}[f[1]]
		if n, err := strconv.ParseUint(f[2], 10, 64); err == nil && name != "" {
			r.put(name, float64(n), "device", t.names[f[0]])
		}
	}
}

// throttling puts how a quota of CPU time was kept.
func (r *reading) throttling(stat map[string]uint64, throttled, burst string, unit float64) {
	r.from("container_cpu_cfs_periods_total", stat, "nr_periods", 1)
	r.from("container_cpu_cfs_throttled_periods_total", stat, "nr_throttled", 1)
	r.from("container_cpu_cfs_throttled_seconds_total", stat, throttled, unit)
	r.from("container_cpu_cfs_burst_periods_total", stat, "nr_bursts", 1)
	r.from("container_cpu_cfs_burst_seconds_total", stat, burst, unit)
}

// memory puts what memory.stat says; keys are its words for metrics that the two versions have by different words.
func (r *reading) memory(usage uint64, stat map[string]uint64, keys map[string]string) {
	r.put("container_memory_usage_bytes", float64(usage))
	for name, key := range keys {
		r.from(name, stat, key, 1)
	}
	cold := stat[keys["container_memory_total_inactive_file_bytes"]]
	r.put("container_memory_working_set_bytes", float64(usage-min(usage, cold)))
	for _, scope := range []string{"container", "hierarchy"} {
		r.from("container_memory_failures_total", stat, "pgfault", 1, "failure_type", "pgfault", "scope", scope)
		r.from("container_memory_failures_total", stat, "pgmajfault", 1, "failure_type", "pgmajfault", "scope", scope)
	}
	r.from("container_memory_file_dirty_bytes", stat, "file_dirty", 1)
	r.from("container_memory_file_writeback_bytes", stat, "file_writeback", 1)
	for _, key := range []string{"pgscan", "pgsteal", "workingset_refault_file", "workingset_refault_anon"} {
		r.from("container_memory_"+key+"_total", stat, key, 1)
	}
}

// limit puts what a file says that limits something; 0 is no limit.
func (r *reading) limit(name, dir, file string) {
	for text := range lines(filepath.Join(dir, file)) {
		n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
		if err != nil || n > unlimited { // "max"
			n = 0
		}
		r.put(name, float64(n))
		return
	}
}
