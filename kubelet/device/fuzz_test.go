package device

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// FuzzCheckpoint: whatever stands in the checkpoint, it is refused, or pods can be asked about by it and the next process reads the same.
func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte(`{"Data":{"PodDeviceEntries":[{"PodUID":"p","ContainerName":"c","ResourceName":"example.com/gpu","DeviceIDs":{"0":["a","b"],"-1":["c"]},"AllocResp":""}],"RegisteredDevices":{"example.com/gpu":["a","b","c"]}},"Checksum":1}`))
	f.Add([]byte(`{"Data":null}`))
	f.Add([]byte(`{"Data":{"PodDeviceEntries":[{"DeviceIDs":null,"AllocResp":"CgQKAmFiEgA="}],"RegisteredDevices":null}}`))
	root := f.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "device-plugins"), 0o750); err != nil {
		f.Fatal(err)
	}
	read := func() (*Manager, error) {
		return New(root, []int{0, 1}, func(types.UID) {}, slog.New(slog.DiscardHandler))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(root, "device-plugins", checkpointFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := read()
		if err != nil {
			return
		}
		p := &core.Pod{}
		p.UID = "p"
		p.Spec.Containers = []core.Container{{Name: "c", Resources: core.ResourceRequirements{Limits: core.ResourceList{"example.com/gpu": resource.MustParse("1")}}}}
		m.Hints(p, &p.Spec.Containers[0])
		m.Statuses("p", "c")
		if err := m.save(); err != nil {
			t.Fatal(err)
		}
		if again, err := read(); err != nil || len(again.given) != len(m.given) || len(again.resources) != len(m.resources) {
			t.Errorf("read again: %v", err)
		}
		m.Release("p")
		m.Keep(func(types.UID) bool { return false })
		if len(m.given) > 0 {
			t.Errorf("nobody is left, but %v", m.given)
		}
	})
}
