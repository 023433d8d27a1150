package serve

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/spec"
)

// checkpoint has the runtime write a container down, in a file of which the answer tells (KEP-2008). proa's own runtime refuses that.
func (s *Server) checkpoint(w http.ResponseWriter, r *http.Request) {
	p, err := s.pod(r)
	if err != nil {
		fail(w, err)
		return
	}
	name := r.PathValue("container")
	if c, _ := spec.FindContainer(p, name); c == nil {
		fail(w, answer(http.StatusNotFound, "container %v does not exist", name))
		return
	}
	var seconds int64 // 0: the runtime's own limit
	if list := r.URL.Query()["timeout"]; len(list) > 0 {
		if seconds, err = strconv.ParseInt(list[len(list)-1], 10, 64); err != nil {
			fail(w, answer(http.StatusNotFound, "cannot parse value of timeout parameter"))
			return
		}
	}
	file, err := s.writeDown(r.Context(), p, name, seconds)
	if err != nil {
		fail(w, answer(http.StatusInternalServerError, "checkpointing of %s/%s/%s failed (%v)", p.Namespace, p.Name, name, err))
		return
	}
	s.json(w, map[string][]string{"items": {file}})
}

func (s *Server) writeDown(ctx context.Context, p *core.Pod, name string, seconds int64) (file string, err error) {
	rt, _ := s.Host.Observed(ctx, p.UID)
	c := rt.Latest(name)
	if c == nil {
		return "", fmt.Errorf("container %s not found", name)
	}
	dir := filepath.Join(s.Node.Root, "checkpoints")
	if err := os.MkdirAll(dir, 0o700); err != nil { // the memory of containers has secrets
		return "", err
	}
	file = filepath.Join(dir, fmt.Sprintf("checkpoint-%s_%s-%s-%s.tar", p.Name, p.Namespace, name, time.Now().Format(time.RFC3339)))
	_, err = s.Runtime.CheckpointContainer(ctx, &runtimeapi.CheckpointContainerRequest{ContainerId: c.ID, Location: file, Timeout: seconds})
	return file, err
}
