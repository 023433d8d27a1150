package topology

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzRead: whatever the kernel says, it is an error, or every CPU is on a node that there is.
func FuzzRead(f *testing.F) {
	f.Add("0-1", "0-1", "Node 0 MemTotal: 4 kB\n", "10 20", "512", "0-1", "3")
	f.Add("0,3-5", "0-999999999999", "", "", "-1", "", "x")
	f.Add("", "", "Node 0 MemTotal: 99999999999999999999 kB", "10 -1", "18446744073709551615", "5", "2")
	dir := f.TempDir()
	cpu, node := filepath.Join(dir, "devices/system/cpu"), filepath.Join(dir, "devices/system/node")
	write := func(t testing.TB, path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, online, cpus, memory, distance, pages, siblings, level string) {
		write(t, filepath.Join(cpu, "online"), online)
		write(t, filepath.Join(cpu, "cpu0/topology/physical_package_id"), pages)
		write(t, filepath.Join(cpu, "cpu0/topology/core_cpus_list"), siblings)
		write(t, filepath.Join(cpu, "cpu0/cache/index3/level"), level)
		write(t, filepath.Join(cpu, "cpu0/cache/index3/shared_cpu_list"), cpus)
		write(t, filepath.Join(node, "online"), level)
		for _, n := range []string{"node0", "node3"} {
			write(t, filepath.Join(node, n, "cpulist"), cpus)
			write(t, filepath.Join(node, n, "meminfo"), memory)
			write(t, filepath.Join(node, n, "distance"), distance)
			write(t, filepath.Join(node, n, "hugepages/hugepages-2048kB/nr_hugepages"), pages)
		}
		m, err := Read(dir)
		if err != nil {
			return
		}
		there := map[int]bool{}
		for _, n := range m.NodeIDs() {
			there[n] = true
		}
		for _, c := range m.CPUs {
			if !there[c.Node] {
				t.Errorf("CPU %+v is on no node of %v", c, m.NodeIDs())
			}
			if at, ok := m.CPU(c.ID); !ok || at != c {
				t.Errorf("CPU %d is not found", c.ID)
			}
		}
	})
}
