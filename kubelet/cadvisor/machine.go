package cadvisor

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"proa.dev/kit/numbers"
	"proa.dev/kit/prom"
)

// processes puts what the processes of a group have open, and, if that is to be told, what their network has carried.
func (t *tree) processes(r *reading, g *Group, dir string) {
	pids, files, sockets := t.pids(dir), 0, 0
	for _, pid := range pids {
		fds := t.path("/proc/" + pid + "/fd")
		entries, err := os.ReadDir(fds)
		if err != nil {
			continue // it has ended
		}
		files += len(entries)
		for _, e := range entries {
			if to, err := os.Readlink(filepath.Join(fds, e.Name())); err == nil && strings.HasPrefix(to, "socket") {
				sockets++
			}
		}
	}
	r.put("container_processes", float64(len(pids)))
	r.put("container_file_descriptors", float64(files))
	r.put("container_sockets", float64(sockets))
	if g.Name != "" && len(pids) > 0 {
		t.limits(r, pids[0])
	}
	switch {
	case !g.Links:
	case g.Path == "/":
		t.links(r, "self")
	default:
		if len(pids) == 0 {
			below, _ := filepath.Glob(dir + "/*/cgroup.procs") // the pattern is sound
			for _, file := range below {
				pids = append(pids, t.pids(filepath.Dir(file))...)
			}
		}
		if len(pids) > 0 {
			t.links(r, pids[0])
		}
	}
}

// pids are the processes of a group itself.
func (t *tree) pids(dir string) (out []string) {
	if dir == "" {
		return nil
	}
	for line := range lines(filepath.Join(dir, "cgroup.procs")) {
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

// limits puts how many files a process may open: "Max open files            1024                 4096                 files".
func (t *tree) limits(r *reading, pid string) {
	for line := range lines(t.path("/proc/" + pid + "/limits")) {
		text, ok := strings.CutPrefix(line, "Max open files")
		f := strings.Fields(text)
		if !ok || len(f) < 2 {
			continue
		}
		soft, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil { // "unlimited"
			soft = -1
		}
		r.put("container_ulimits_soft", float64(soft), "ulimit", "max_open_files")
	}
}

// links puts what the links have carried that a process sees, without those that lead to itself or to containers.
func (t *tree) links(r *reading, pid string) {
	for line := range lines(t.path("/proc/" + pid + "/net/dev")) {
		name, text, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		f := strings.Fields(text)
		if !ok || len(f) < 16 || strings.HasPrefix(name, "lo") || strings.HasPrefix(name, "veth") {
			continue
		}
		for i, what := range []string{"bytes", "packets", "errors", "packets_dropped"} {
			for way, first := range map[string]int{"receive": 0, "transmit": 8} {
				if n, err := strconv.ParseUint(f[first+i], 10, 64); err == nil {
					r.put("container_network_"+way+"_"+what+"_total", float64(n), "interface", name)
				}
			}
		}
	}
}

// layer puts what a container has written, and how much there is room for.
func (t *tree) layer(r *reading, l *Layer) {
	var info unix.Stat_t
	if unix.Stat(l.Path, &info) != nil {
		return // the container is gone
	}
	device := t.names[strconv.Itoa(int(unix.Major(info.Dev)))+":"+strconv.Itoa(int(unix.Minor(info.Dev)))]
	t.capacity(r, device, l.Path)
	r.put("container_fs_usage_bytes", float64(l.Used), "device", device)
}

// capacity puts what a file system has, and returns how much is used of it.
func (t *tree) capacity(r *reading, device, path string) (used uint64) {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return 0
	}
	r.put("container_fs_limit_bytes", float64(st.Blocks*uint64(st.Bsize)), "device", device)
	r.put("container_fs_inodes_total", float64(st.Files), "device", device)
	r.put("container_fs_inodes_free", float64(st.Ffree), "device", device)
	return (st.Blocks - st.Bfree) * uint64(st.Bsize)
}

// disks puts the file systems of the machine, and what their disks have done (Documentation/admin-guide/iostats.rst).
func (t *tree) disks(r *reading) {
	done := map[string][]string{}
	for line := range lines(t.path("/proc/diskstats")) {
		if f := strings.Fields(line); len(f) > 13 {
			done["/dev/"+f[2]] = f[3:]
		}
	}
	for _, m := range t.mounts {
		r.put("container_fs_usage_bytes", float64(t.capacity(r, m.device, t.path(m.at))), "device", m.device)
		f := done[m.device]
		if f == nil {
			continue
		}
		for i, k := range []struct {
			name string
			unit float64
		}{
			{"reads_total", 1}, {"reads_merged_total", 1}, {"sector_reads_total", 1}, {"read_seconds_total", 1e-3},
			{"writes_total", 1}, {"writes_merged_total", 1}, {"sector_writes_total", 1}, {"write_seconds_total", 1e-3},
			{"io_current", 1}, {"io_time_seconds_total", 1e-3}, {"io_time_weighted_seconds_total", 1e-3},
		} {
			n, err := strconv.ParseUint(f[i], 10, 64)
			if name := "container_fs_" + k.name; err == nil && !r.has(name, m.device) {
				r.put(name, float64(n)*k.unit, "device", m.device)
			}
		}
	}
}

// has says whether there is a figure of a device.
func (r *reading) has(name, device string) bool {
	for _, s := range r.series[name] {
		if len(s.labels) == 2 && s.labels[1] == device {
			return true
		}
	}
	return false
}

// machine writes what the machine has.
func (t *tree) machine(p *prom.Page) {
	line := func(path string) string {
		for text := range lines(t.path(path)) {
			return strings.TrimSpace(text)
		}
		return ""
	}
	system := ""
	for text := range lines(t.path("/etc/os-release")) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(text), "PRETTY_NAME="); ok {
			system = strings.Trim(v, `"`)
		}
	}
	p.Head("cadvisor_version_info", "gauge", "1, with what the machine runs.")
	p.Value(prom.Labels("cadvisorRevision", "", "cadvisorVersion", "", "dockerVersion", "", "kernelVersion", line("/proc/sys/kernel/osrelease"), "osVersion", system), 1)
	p.Head("container_scrape_error", "gauge", "Whether the figures of containers could not be read: 1 or 0.")
	p.Value("", 0)
	sockets, cores := map[string]bool{}, map[string]bool{}
	socket := ""
	for text := range lines(t.path("/proc/cpuinfo")) {
		key, v, _ := strings.Cut(text, ":")
		switch v = strings.TrimSpace(v); strings.TrimSpace(key) {
		case "physical id":
			socket = v
			sockets[v] = true
		case "core id":
			cores[socket+"/"+v] = true
		}
	}
	if len(cores) == 0 { // other architectures do not say
		cores[""], sockets[""] = true, true
	}
	memory := numbers.Read(t.path("/proc/meminfo"))
	who := prom.Labels("boot_id", line("/proc/sys/kernel/random/boot_id"), "machine_id", line("/etc/machine-id"), "system_uuid", line("/sys/class/dmi/id/product_uuid"))
	for _, m := range []struct {
		name, help string
		value      float64
	}{
		{"machine_cpu_books", "Books of processors.", 0},
		{"machine_cpu_cores", "Processors of the machine, as programs see them.", float64(runtime.NumCPU())},
		{"machine_cpu_drawers", "Drawers of processors.", 0},
		{"machine_cpu_physical_cores", "Cores of the machine's processors.", float64(len(cores))},
		{"machine_cpu_sockets", "Sockets with processors.", float64(len(sockets))},
		{"machine_memory_bytes", "Memory of the machine, in bytes.", float64(memory["MemTotal"])},
		{"machine_nvm_avg_power_budget_watts", "Power for non-volatile memory.", 0},
		{"machine_swap_bytes", "Swap of the machine, in bytes.", float64(memory["SwapTotal"])},
	} {
		p.Head(m.name, "gauge", m.help)
		p.Value(who, m.value)
	}
	p.Head("machine_nvm_capacity", "gauge", "Non-volatile memory by how it is used, in bytes.")
	for _, mode := range []string{"app_direct_mode", "memory_mode"} {
		p.Value(who+","+prom.Labels("mode", mode), 0)
	}
	p.Head("machine_scrape_error", "gauge", "Whether the figures of the machine could not be read: 1 or 0.")
	p.Value("", 0)
}
