package stats

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"proa.dev/kubelet/spec"
)

// FuzzProc: whatever the kernel says, the node's figures can be told.
func FuzzProc(f *testing.F) {
	f.Add("cpu  1 2 3 4 5 6 7 8 9 10\nbtime 1700000000\n", "MemTotal: 100 kB\nMemFree: 200 kB\nInactive(file): 7 kB\n", "eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
		"eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n", "some avg10=0.00 avg60=1.50 avg300=NaN total=12\nfull avg10=+Inf total=-1\n", "0.1 0.2 0.3 1/400 99")
	f.Add("cpu\n", "MemTotal:\n", ":", "", "some", "/ / / /")
	dir := f.TempDir()
	for _, d := range []string{"net", "pressure", "sys/kernel", "self"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, stat, memory, links, route, pressure, load string) {
		for name, text := range map[string]string{
			"stat": stat, "meminfo": memory, "vmstat": memory, "net/dev": links, "net/route": route, "pressure/cpu": pressure, "pressure/memory": pressure,
			"pressure/io": pressure, "loadavg": load, "self/statm": load, "sys/kernel/pid_max": route, "sys/kernel/threads-max": load,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c := New(Deps{Proc: dir, Node: &spec.Node{Name: "n"}})
		for range 2 {
			if _, err := json.Marshal(c.node(false)); err != nil {
				t.Error(err)
			}
			if _, err := json.Marshal(c.system(nil)); err != nil {
				t.Error(err)
			}
		}
	})
}
