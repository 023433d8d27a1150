package serve

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/cri"
)

// writer is a runtime that can write containers down.
type writer struct {
	cri.Runtime
	asked *runtimeapi.CheckpointContainerRequest
}

func (w *writer) CheckpointContainer(_ context.Context, q *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	w.asked = q
	return &runtimeapi.CheckpointContainerResponse{}, os.WriteFile(q.Location, []byte("memory"), 0o600)
}

func TestCheckpoint(t *testing.T) {
	s, _, _ := setup(t)
	s.Node.Root = t.TempDir()
	if code, body := ask(t, s, "POST", "/checkpoint/ns/web/c", "alice"); code != 500 || !strings.HasPrefix(body, "checkpointing of ns/web/c failed (rpc error: code = NotFound desc = ") {
		t.Errorf("a container that the runtime does not know: %d %q", code, body)
	}
	w := &writer{Runtime: s.Runtime}
	s.Runtime = w
	code, body := ask(t, s, "POST", "/checkpoint/ns/web/c?timeout=1&timeout=7", "alice")
	var list struct{ Items []string }
	if err := json.Unmarshal([]byte(body), &list); err != nil || code != 200 || len(list.Items) != 1 {
		t.Fatalf("%d %q: %v", code, body, err)
	}
	if w.asked.ContainerId != "c1" || w.asked.Timeout != 7 {
		t.Errorf("the runtime was asked %v", w.asked)
	}
	if text, err := os.ReadFile(list.Items[0]); err != nil || string(text) != "memory" {
		t.Errorf("%q, %v", text, err)
	}
	if ok, err := filepath.Match(s.Node.Root+"/checkpoints/checkpoint-web_ns-c-*.tar", list.Items[0]); err != nil || !ok {
		t.Errorf("the file is %s", list.Items[0])
	}
	if info, err := os.Stat(filepath.Join(s.Node.Root, "checkpoints")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}
