package dra

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// FuzzCheckpoint: whatever stands in the checkpoint, it is refused, or the next process reads the same.
func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte(`[{"uid":"1","namespace":"a","name":"c","pods":["p"],"drivers":{"gpu.example.com":[{"pool":"n","name":"d","cdi":["x/y=z"]}]}}]`))
	f.Add([]byte(`[null]`))
	f.Add([]byte(`[{"drivers":{"d":null},"pods":null},{}]`))
	root := f.TempDir()
	read := func() (*Manager, error) {
		return New(Config{Node: "n", Root: root, Renew: func(types.UID) {}, Log: slog.New(slog.DiscardHandler)})
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(root, checkpointFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := read()
		if err != nil {
			return
		}
		m.Uses("p")
		stale := m.Stale(func(types.UID) bool { return false })
		if err := m.save(); err != nil {
			t.Fatal(err)
		}
		again, err := read()
		if err != nil || len(again.claims) != len(m.claims) || len(again.Stale(func(types.UID) bool { return false })) != len(stale) {
			t.Errorf("read again: %v", err)
		}
	})
}
