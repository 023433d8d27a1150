package memory

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kubelet/topology"
)

// FuzzState: whatever stands in the state, it is refused, or pods can come and go by it.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"policyName":"Static","entries":{"p":{"a":[{"numaAffinity":[0],"type":"memory","size":4096}]}},"checksum":7}`))
	f.Add([]byte(`{"policyName":"Static","entries":{"p":{"a":[{"numaAffinity":[],"type":"memory","size":18446744073709551615}]}}}`))
	f.Add([]byte(`{"policyName":"Static","entries":{"p":{"a":[{"numaAffinity":[0,0,1],"type":"hugepages-2Mi","size":1}],"b":null},"q":null}}`))
	f.Add([]byte(`{"policyName":"Static","entries":{"p":{"a":[{"numaAffinity":[-1],"type":"memory"}]}}}`))
	root := f.TempDir()
	machine := &topology.Machine{Nodes: []topology.Node{{ID: 0, Memory: 11 * gib, Huge: map[uint64]uint64{2 << 20: 512}}, {ID: 1, Memory: 10 * gib}}}
	reserved := map[int]core.ResourceList{0: {core.ResourceMemory: resource.MustParse("1Gi")}}
	read := func() (*Manager, error) {
		return New(Config{Policy: Static, Reserved: reserved, Kept: resource.MustParse("1Gi"), Machine: machine, Root: root, Log: slog.New(slog.DiscardHandler)})
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(root, stateFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := read()
		if err != nil {
			return
		}
		p := pod("new", "4Gi")
		c := &p.Spec.Containers[0]
		if h := m.Hints(p, c); len(h["memory"]) > 0 {
			if err := m.Allocate(p, c, topology.Hint{Nodes: h["memory"][0].Nodes}); err != nil {
				t.Errorf("hinted, but not to be had: %v", err)
			}
		}
		before := len(m.given)
		if err := m.save(); err != nil {
			t.Fatal(err)
		}
		if again, err := read(); err != nil || len(again.given) != before {
			t.Errorf("read again: %v", err)
		}
		m.Keep(func(types.UID) bool { return false })
		if len(m.given) > 0 {
			t.Errorf("nobody is left, but %v", m.given)
		}
	})
}
