package csi

import (
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
	core "k8s.io/api/core/v1"

	"proa.dev/kubelet/plugin"
)

// FuzzNodeInfo: whatever a driver says of the node, and whatever stands on the node already, it is refused, or stands there then.
func FuzzNodeInfo(f *testing.F) {
	reply, err := proto.Marshal(&csi.NodeGetInfoResponse{NodeId: "id-1", AccessibleTopology: &csi.Topology{Segments: map[string]string{"fake/zone": "z1"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reply, `{"a":"b"}`, "z1")
	f.Add(reply, `null`, "z2")
	f.Add(reply, `[`, "")
	f.Fuzz(func(t *testing.T, reply []byte, annotation, zone string) {
		var info csi.NodeGetInfoResponse
		if proto.Unmarshal(reply, &info) != nil {
			return
		}
		n := &core.Node{}
		n.Annotations = map[string]string{nodeIDs: annotation}
		n.Labels = map[string]string{"fake/zone": zone}
		if place(n, "fake", info.GetNodeId(), info.GetAccessibleTopology().GetSegments()) != nil {
			return
		}
		ids := map[string]string{}
		if text, ok := n.Annotations[nodeIDs]; ok {
			if err := json.Unmarshal([]byte(text), &ids); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
		for k, v := range info.GetAccessibleTopology().GetSegments() {
			if n.Labels[k] != v {
				t.Errorf("label %q is %q, want %q", k, n.Labels[k], v)
			}
		}
	})
}

// FuzzRecord: whatever stands on disk of volumes, what is read of it is passed over or known.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"specVolID":"v","volumeHandle":"h","driverName":"d","attachedVolume":"kubernetes.io/csi/d^h","stagedInBoot":"b"}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"driverName":"../../..","specVolID":"/"}`))
	root := f.TempDir()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := New(Deps{Root: root, Log: log})
	if err != nil {
		f.Fatal(err)
	}
	var dirs []string
	for _, dir := range []string{filepath.Join(s.plugins(), "d", "sum"), s.blockData("b"), filepath.Join(s.podVolumes("p"), "v"), filepath.Join(s.podDevices("p"), "b")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			f.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, dir := range dirs {
			if err := os.WriteFile(filepath.Join(dir, dataFile), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := New(Deps{Root: root, Log: log}); err != nil {
			t.Error(err)
		}
	})
}

// FuzzVersions: whatever versions a driver names, it is taken only if there is a 1.x among them.
func FuzzVersions(f *testing.F) {
	f.Add("1.0.0", "v1.2")
	f.Add("", "1.")
	f.Add("0.3.0", "1.99999999999999999999")
	f.Fuzz(func(t *testing.T, a, b string) {
		both := checkVersions(plugin.Info{Name: "d", Versions: []string{a, b}}) == nil
		one := checkVersions(plugin.Info{Name: "d", Versions: []string{a}}) == nil || checkVersions(plugin.Info{Name: "d", Versions: []string{b}}) == nil
		if both != one {
			t.Errorf("%q and %q: together %v, alone %v", a, b, both, one)
		}
	})
}
