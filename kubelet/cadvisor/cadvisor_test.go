package cadvisor

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"proa.dev/kit/prom"
)

// unpack makes a machine of an archive of its files.
func unpack(t *testing.T, archive string) Machine {
	t.Helper()
	a, err := txtar.ParseFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	files, err := txtar.FS(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(root, files); err != nil {
		t.Fatal(err)
	}
	fds := filepath.Join(root, "proc/42/fd")
	if err := os.MkdirAll(fds, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"0": "/dev/null", "1": "socket:[7]", "2": "pipe:[8]"} {
		if err := os.Symlink(to, filepath.Join(fds, name)); err != nil {
			t.Fatal(err)
		}
	}
	return Machine{Root: root}
}

var times = regexp.MustCompile(`(?m) \d{13}$`)

func page(m Machine, groups ...Group) string {
	var p prom.Page
	m.Write(&p, groups)
	return times.ReplaceAllString(p.String(), " T")
}

const pod = "/proa/kubepods/podu"

func container() Group {
	return Group{Path: pod + "/c1", Namespace: "ns", Pod: "web", Container: "c", Name: "c1", Image: "img:1", Started: time.Unix(1_700_000_000, 0)}
}

const labels = `container="c",id="/proa/kubepods/podu/c1",image="img:1",name="c1",namespace="ns",pod="web"`

// with is the labels of the container with one more in its place.
func with(before, more string) string { return strings.Replace(labels, before, more+","+before, 1) }

func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("there is no %s, but %s", line, regexp.MustCompile(`(?m)^`+name+`\b.*$`).FindAllString(text, -1))
		}
	}
}

func TestV2(t *testing.T) {
	m := unpack(t, "testdata/v2.txtar")
	one, gone := container(), container()
	gone.Path, gone.Name = pod+"/c2", "c2"
	text := page(m, Group{Path: pod, Namespace: "ns", Pod: "web", Links: true}, one, gone)
	has(t, text,
		"container_cpu_usage_seconds_total{"+with("id=", `cpu="total"`)+"} 5 T", "container_cpu_user_seconds_total{"+labels+"} 3 T",
		"container_cpu_system_seconds_total{"+labels+"} 2 T", "container_cpu_cfs_periods_total{"+labels+"} 10 T",
		"container_cpu_cfs_throttled_periods_total{"+labels+"} 4 T", "container_cpu_cfs_throttled_seconds_total{"+labels+"} 0.25 T",
		"container_cpu_cfs_burst_periods_total{"+labels+"} 1 T", "container_cpu_cfs_burst_seconds_total{"+labels+"} 0.001 T",
		"container_spec_cpu_quota{"+labels+"} 50000", "container_spec_cpu_period{"+labels+"} 100000", "container_spec_cpu_shares{"+labels+"} 998",
		"container_memory_usage_bytes{"+labels+"} 9000 T", "container_memory_working_set_bytes{"+labels+"} 8000 T",
		"container_memory_max_usage_bytes{"+labels+"} 9999 T", "container_memory_rss{"+labels+"} 4096 T", "container_memory_cache{"+labels+"} 3000 T",
		"container_memory_kernel_usage{"+labels+"} 77 T", "container_memory_mapped_file{"+labels+"} 500 T", "container_memory_swap{"+labels+"} 11 T",
		"container_memory_events_high_total{"+labels+"} 6 T", "container_memory_events_max_total{"+labels+"} 7 T", "container_oom_events_total{"+labels+"} 1 T",
		"container_memory_failures_total{"+with("id=", `failure_type="pgmajfault"`)+`,scope="hierarchy"} 3 T`,
		"container_memory_pgscan_total{"+labels+"} 21 T", "container_memory_workingset_refault_file_total{"+labels+"} 23 T",
		"container_spec_memory_limit_bytes{"+labels+"} 1.048576e+06", "container_spec_memory_swap_limit_bytes{"+labels+"} 0",
		"container_fs_reads_bytes_total{"+with("id=", `device="/dev/sda"`)+"} 4096 T", "container_fs_writes_total{"+with("id=", `device="/dev/sda"`)+"} 2 T",
		`container_blkio_device_usage_total{container="c",device="/dev/sda",id="/proa/kubepods/podu/c1",image="img:1",major="8",minor="0",name="c1",namespace="ns",operation="Write",pod="web"} 8192 T`,
		"container_threads{"+labels+"} 3 T", "container_threads_max{"+labels+"} 0 T", "container_processes{"+labels+"} 1 T",
		"container_file_descriptors{"+labels+"} 3 T", "container_sockets{"+labels+"} 1 T", "container_ulimits_soft{"+labels+`,ulimit="max_open_files"} 1024 T`,
		"container_pressure_cpu_waiting_seconds_total{"+labels+"} 1.5 T", "container_pressure_memory_stalled_seconds_total{"+labels+"} 0.25 T",
		"container_start_time_seconds{"+labels+"} 1.7e+09", "container_health_state{"+labels+"} -1 T",
		`container_network_receive_bytes_total{container="",id="/proa/kubepods/podu",image="",interface="eth0",name="",namespace="ns",pod="web"} 100 T`,
		`container_network_transmit_packets_dropped_total{container="",id="/proa/kubepods/podu",image="",interface="eth0",name="",namespace="ns",pod="web"} 12 T`,
		`machine_cpu_sockets{boot_id="b",machine_id="m",system_uuid=""} 2`, `machine_cpu_physical_cores{boot_id="b",machine_id="m",system_uuid=""} 3`,
		`machine_memory_bytes{boot_id="b",machine_id="m",system_uuid=""} 1.024e+06`,
		`cadvisor_version_info{cadvisorRevision="",cadvisorVersion="",dockerVersion="",kernelVersion="6.18",osVersion="An OS"} 1`,
	)
	if strings.Contains(text, `interface="lo"`) || strings.Contains(text, "c2") {
		t.Errorf("there is what should not be:\n%s", text)
	}
}

func TestV1(t *testing.T) {
	m := unpack(t, "testdata/v1.txtar")
	text := page(m, Group{Path: "/", Links: true}, Group{Path: pod, Namespace: "ns", Pod: "web", Links: true}, container())
	root := `container="",id="/",image="",name="",namespace="",pod=""`
	has(t, text,
		"container_cpu_usage_seconds_total{"+with("id=", `cpu="total"`)+"} 5 T", "container_cpu_user_seconds_total{"+labels+"} 3 T",
		"container_cpu_cfs_throttled_seconds_total{"+labels+"} 0.25 T", "container_spec_cpu_shares{"+labels+"} 256",
		"container_memory_usage_bytes{"+labels+"} 9000 T", "container_memory_working_set_bytes{"+labels+"} 8000 T", "container_memory_swap{"+labels+"} 11 T",
		"container_memory_max_usage_bytes{"+labels+"} 9999 T", "container_memory_failcnt{"+labels+"} 7 T", "container_oom_events_total{"+labels+"} 1 T",
		"container_spec_memory_limit_bytes{"+labels+"} 1.048576e+06", "container_spec_memory_reservation_limit_bytes{"+labels+"} 0",
		"container_fs_writes_bytes_total{"+with("id=", `device="/dev/sda"`)+"} 8192 T", "container_fs_reads_total{"+with("id=", `device="/dev/sda"`)+"} 1 T",
		"container_threads_max{"+labels+"} 64 T", "container_processes{"+labels+"} 1 T",
		"container_cpu_usage_seconds_total{"+strings.Replace(root, "id=", `cpu="total",id=`, 1)+"} 50 T",
		"container_fs_read_seconds_total{"+strings.Replace(root, "id=", `device="/dev/sda",id=`, 1)+"} 0.004 T",
		"container_network_receive_bytes_total{"+strings.Replace(root, "name=", `interface="ens5",name=`, 1)+"} 5 T",
	)
	for _, no := range []string{"container_spec_cpu_quota{" + root, "container_pressure_", "container_memory_pgscan_total"} {
		if strings.Contains(text, no) {
			t.Errorf("there is a %s", no)
		}
	}
}

// TestNames has every metric of the table in one of the two archives, so that none is told of that nothing is read for.
func TestNames(t *testing.T) {
	v2 := page(unpack(t, "testdata/v2.txtar"), Group{Path: "/", Links: true}, Group{Path: pod, Links: true}, func() Group {
		g := container()
		g.Layer = &Layer{Path: t.TempDir(), Used: 1}
		return g
	}())
	var names []string
	for _, f := range families() {
		if !strings.Contains(v2, "\n"+f.name+"{") {
			t.Errorf("nothing is read for %s", f.name)
		}
		if slices.Contains(names, f.name) {
			t.Errorf("%s is twice in the table", f.name)
		}
		names = append(names, f.name)
	}
	for _, line := range strings.Split(v2, "\n") {
		name, _, _ := strings.Cut(line, "{")
		if strings.HasPrefix(name, "container_") && !strings.Contains(name, " ") && !slices.Contains(names, name) {
			t.Errorf("%s is not in the table", name)
		}
	}
	r := (&tree{}).read(&Group{Path: "/none", Known: map[string]float64{"container_cpu_usage_seconds_total": 5, "container_memory_rss": 6}})
	for name, list := range r.series {
		if !slices.Contains(names, name) || len(list) != 1 {
			t.Errorf("%s of a group that is not there: %v", name, list)
		}
	}
	if len(r.series["container_cpu_usage_seconds_total"]) != 1 {
		t.Errorf("what is known of a group that is not there: %v", r.series)
	}
}
