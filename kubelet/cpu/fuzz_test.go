package cpu

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/cpuset"

	"proa.dev/kubelet/topology"
)

// FuzzState: whatever stands in the state, it is refused, or nobody has a CPU that somebody else has, and the next process reads the same.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"policyName":"static","defaultCpuSet":"0,2-3","entries":{"p":{"a":"1,5"},"q":{"b":"4"}},"checksum":7}`))
	f.Add([]byte(`{"policyName":"static","entries":{"p":null,"q":{"b":""}}}`))
	f.Add([]byte(`{"policyName":"static","entries":{"p":{"a":"1","b":"1"}}}`))
	f.Add([]byte(`{"policyName":"static","entries":{"p":{"a":"0-999999999999"}}}`))
	f.Add([]byte(`null`))
	root, box := f.TempDir(), machine(1, 1, 1, 4, 2, false)
	read := func() (*Manager, error) {
		return New(Config{Policy: Static, Reserved: cpuset.New(0), Machine: box, Root: root, Log: slog.New(slog.DiscardHandler)})
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(root, stateFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := read()
		if err != nil {
			return
		}
		p := pod("new", "2")
		if h := m.Hints(p, nil); len(h["cpu"]) > 0 {
			if err := m.allocate(p, topology.Hint{Nodes: h["cpu"][0].Nodes}); err != nil {
				t.Errorf("hinted, but not to be had: %v", err)
			}
		}
		had := map[int]types.UID{}
		for uid, containers := range m.given {
			for name, set := range containers {
				if !set.Intersection(m.shared.Union(m.reserved)).IsEmpty() {
					t.Errorf("%s/%s has %s, shared are %s, reserved %s", uid, name, set, m.shared, m.reserved)
				}
				for _, c := range set.List() {
					if o, ok := had[c]; ok && o != uid {
						t.Errorf("CPU %d is of %s and of %s", c, o, uid)
					}
					had[c] = uid
				}
			}
		}
		if err := m.save(); err != nil {
			t.Fatal(err)
		}
		again, err := read()
		if err != nil || !again.shared.Equals(m.shared) {
			t.Errorf("read again: %v", err)
		}
	})
}
