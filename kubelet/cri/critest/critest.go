package critest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Program is what a container does. ctx ends when it is told to stop; what it returns is the exit code.
type Program func(ctx context.Context, c *Container) int32

// Runtime is a container runtime in memory. The zero value of its public fields is fine; they are set before use.
type Runtime struct {
	// Programs by image. An image that is missing here does not exist; nil runs until it is stopped and exits with 0.
	Programs map[string]Program
	// OnExec answers ExecSync.
	OnExec func(c *Container, cmd []string) (stdout string, code int32)
	// Fail, if set, may refuse a call by its name.
	Fail func(call string, req any) error
	// IP of the next sandbox.
	IP string

	mu         sync.Mutex // guards all below
	n          int
	sandboxes  map[string]*sandbox
	containers map[string]*Container
	listeners  map[chan *runtimeapi.ContainerEventResponse]bool
	calls      []string
}

type sandbox struct {
	config *runtimeapi.PodSandboxConfig
	status *runtimeapi.PodSandboxStatus
}

// Container is one container.
type Container struct {
	Config *runtimeapi.ContainerConfig
	ID     string

	box    string
	status *runtimeapi.ContainerStatus
	stop   context.CancelFunc
	ended  chan struct{}
	log    string
}

// New is a runtime that has these images.
func New(images ...string) *Runtime {
	r := &Runtime{Programs: map[string]Program{}}
	for _, i := range images {
		r.Programs[i] = nil
	}
	return r
}

func (r *Runtime) enter(call string, req any) error {
	r.mu.Lock()
	if r.sandboxes == nil {
		r.sandboxes, r.containers = map[string]*sandbox{}, map[string]*Container{}
		r.listeners = map[chan *runtimeapi.ContainerEventResponse]bool{}
	}
	r.calls = append(r.calls, call)
	fail := r.Fail
	r.mu.Unlock()
	if fail != nil {
		return fail(call, req)
	}
	return nil
}

// Calls are the names of the calls so far that changed something.
func (r *Runtime) Calls(names ...string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.calls {
		for _, want := range names {
			if c == want {
				n++
			}
		}
	}
	return n
}

// Count is how many sandboxes and containers there are.
func (r *Runtime) Count() (sandboxes, containers int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sandboxes), len(r.containers)
}

// Find is the newest container of that name, nil if there is none.
func (r *Runtime) Find(name string) *Container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var newest *Container
	for _, c := range r.containers {
		if c.Config.Metadata.Name == name && (newest == nil || c.status.CreatedAt > newest.status.CreatedAt) {
			newest = c
		}
	}
	return newest
}

// Kill ends a container as a crash would.
func (c *Container) Kill() { c.stop() }

// Log appends a line to the container's log.
func (c *Container) Log(text string) error {
	f, err := os.OpenFile(c.log, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%s stdout F %s\n", time.Now().Format(time.RFC3339Nano), text)
	return err
}

func (r *Runtime) id(kind string) string {
	r.n++
	return fmt.Sprintf("%s%d", kind, r.n)
}

func (r *Runtime) tell(id string, t runtimeapi.ContainerEventType) {
	for l := range r.listeners {
		select {
		case l <- &runtimeapi.ContainerEventResponse{ContainerId: id, ContainerEventType: t, CreatedAt: time.Now().UnixNano()}:
		default: // a test that does not listen
		}
	}
}

// Events implements cri.Runtime.
func (r *Runtime) Events(ctx context.Context) <-chan *runtimeapi.ContainerEventResponse {
	c := make(chan *runtimeapi.ContainerEventResponse, 1024)
	_ = r.enter("Events", nil)
	r.mu.Lock()
	r.listeners[c] = true
	r.mu.Unlock()
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.listeners, c)
		close(c)
	})
	return c
}

// Version implements cri.Runtime.
func (r *Runtime) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: "critest", RuntimeVersion: "1", RuntimeApiVersion: "v1"}, nil
}

// Status implements cri.Runtime.
func (r *Runtime) Status(context.Context, *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	return &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: "RuntimeReady", Status: true}, {Type: "NetworkReady", Status: true},
	}}}, nil
}

// UpdateRuntimeConfig implements cri.Runtime.
func (r *Runtime) UpdateRuntimeConfig(context.Context, *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
}

// RunPodSandbox implements cri.Runtime.
func (r *Runtime) RunPodSandbox(_ context.Context, q *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	if err := r.enter("RunPodSandbox", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := q.Config.Metadata
	for _, s := range r.sandboxes {
		if o := s.config.Metadata; o.Uid == m.Uid && o.Attempt == m.Attempt {
			return nil, status.Errorf(codes.AlreadyExists, "sandbox %s_%d exists", m.Name, m.Attempt)
		}
	}
	id := r.id("s")
	ip := r.IP
	if ip == "" {
		ip = "127.0.0.1"
	}
	r.sandboxes[id] = &sandbox{q.Config, &runtimeapi.PodSandboxStatus{
		Id: id, Metadata: m, State: runtimeapi.PodSandboxState_SANDBOX_READY, CreatedAt: time.Now().UnixNano(),
		Network: &runtimeapi.PodSandboxNetworkStatus{Ip: ip}, Labels: q.Config.Labels, Annotations: q.Config.Annotations,
	}}
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, nil
}

// StopPodSandbox implements cri.Runtime.
func (r *Runtime) StopPodSandbox(ctx context.Context, q *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	if err := r.enter("StopPodSandbox", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	var running []*Container
	for _, c := range r.containers {
		if c.box == q.PodSandboxId {
			running = append(running, c)
		}
	}
	if s := r.sandboxes[q.PodSandboxId]; s != nil {
		s.status.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
		r.tell(q.PodSandboxId, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	}
	r.mu.Unlock()
	for _, c := range running {
		if err := r.halt(ctx, c, 0); err != nil {
			return nil, err
		}
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

// RemovePodSandbox implements cri.Runtime.
func (r *Runtime) RemovePodSandbox(ctx context.Context, q *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	if err := r.enter("RemovePodSandbox", q); err != nil {
		return nil, err
	}
	if _, err := r.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: q.PodSandboxId}); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, c := range r.containers {
		if c.box == q.PodSandboxId {
			delete(r.containers, id)
		}
	}
	delete(r.sandboxes, q.PodSandboxId)
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

// PodSandboxStatus implements cri.Runtime.
func (r *Runtime) PodSandboxStatus(_ context.Context, q *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	if err := r.enter("PodSandboxStatus", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[q.PodSandboxId]
	if s == nil {
		return nil, status.Errorf(codes.NotFound, "sandbox %q not found", q.PodSandboxId)
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: clone(s.status)}, nil
}

// ListPodSandbox implements cri.Runtime.
func (r *Runtime) ListPodSandbox(_ context.Context, q *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	if err := r.enter("ListPodSandbox", q); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &runtimeapi.ListPodSandboxResponse{}
	for _, s := range r.sandboxes {
		out.Items = append(out.Items, &runtimeapi.PodSandbox{
			Id: s.status.Id, Metadata: s.config.Metadata, State: s.status.State, CreatedAt: s.status.CreatedAt, Labels: s.config.Labels,
		})
	}
	return out, nil
}

// logPath is where the runtime would write.
func logPath(s *sandbox, c *runtimeapi.ContainerConfig) string {
	return filepath.Join(s.config.LogDirectory, c.LogPath)
}
