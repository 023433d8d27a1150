package cri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/apparmor"
	"proa.dev/runtime/cgroup"
	"proa.dev/runtime/image"
	"proa.dev/runtime/keeper"
	"proa.dev/runtime/oci"
	"proa.dev/runtime/sandbox"
	"proa.dev/runtime/snapshot"
)

// ImageSource is where containers get their images from; *image.Store is one.
type ImageSource interface {
	// Config returns the ID and the configuration of an image named by a reference or an ID.
	Config(ctx context.Context, ref string) (id string, cfg ocispec.Image, err error)
	// Prepare makes a writable root file system for the container key.
	Prepare(ctx context.Context, key, ref string) (image.Rootfs, error)
	// Release drops it. A key that is not there is no error.
	Release(ctx context.Context, key string) error
	// SnapshotUsage measures what the container key has written.
	SnapshotUsage(ctx context.Context, key string) (snapshot.Usage, error)
}

// Deps is what a Runtime is made of.
type Deps struct {
	Root         string // state that survives a reboot; default /var/lib/proa/runtime
	Run          string // state that does not; default /run/proa
	CgroupParent string // above the cgroups of pods that name none, and of the keepers; default /proa

	Images  ImageSource
	Network sandbox.Network

	KeeperPath string            // keeper binary; default: the one inside this program
	OCIRuntime string            // default handler: empty for the built-in runtime, or the path of runc, crun, ...
	Handlers   map[string]string // RuntimeClass handler -> like OCIRuntime

	Log *slog.Logger
}

// Runtime is the runtime service.
type Runtime struct {
	runtimeapi.UnimplementedRuntimeServiceServer

	deps     Deps
	log      *slog.Logger
	binary   *keeper.Binary
	tree     *cgroup.Tree
	keepers  *cgroup.Group // of all keepers
	oci      map[string]oci.Runtime
	apparmor *apparmor.Host

	keeperProcs []string // files that a keeper's process ID is written to
	stream      *streamServer
	events      hub

	adopted chan struct{} // closed when Run has found out what still runs

	work context.Context // ends when Run does; for work that outlives a request
	wg   sync.WaitGroup  // watchers of keepers and cleaners; Run waits for it

	mu         sync.Mutex // guards the fields below and the mutable fields of pods and containers
	pods       map[string]*pod
	containers map[string]*ctr
	names      map[string]string // pod or container name (see podName) -> ID, so that a retry does not make a second
	podCIDR    string            // UpdateRuntimeConfig
}

// New returns a Runtime with what is recorded on disk. It starts nothing: until Run has adopted what runs, every RPC waits.
func New(d Deps) (*Runtime, error) {
	if d.Images == nil || d.Network == nil {
		return nil, errors.New("the runtime needs images and a network")
	}
	d.Root = orDefault(d.Root, "/var/lib/proa/runtime")
	d.Run = orDefault(d.Run, "/run/proa")
	d.CgroupParent = orDefault(d.CgroupParent, "/proa")
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	r := &Runtime{deps: d, log: d.Log, adopted: make(chan struct{}), pods: map[string]*pod{}, containers: map[string]*ctr{},
		names: map[string]string{}, oci: map[string]oci.Runtime{}, apparmor: apparmor.Open()}
	for _, dir := range []string{"sandboxes", "containers"} {
		if err := os.MkdirAll(filepath.Join(d.Root, dir), 0o711); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{"keepers", "netns", "shm", "root"} {
		if err := os.MkdirAll(filepath.Join(d.Run, dir), 0o711); err != nil {
			return nil, err
		}
	}
	var err error
	if r.binary, err = keeper.OpenBinary(d.KeeperPath); err != nil {
		return nil, err
	}
	if r.tree, err = cgroup.Open(); err != nil {
		return nil, err
	}
	if r.keepers, err = r.tree.Create(filepath.Join(d.CgroupParent, "keepers")); err != nil {
		return nil, err
	}
	r.keeperProcs = r.keepers.Procs()
	if file, err := r.keepers.Escape(); err != nil {
		return nil, err
	} else if file != "" {
		r.keeperProcs = append(r.keeperProcs, file)
	}
	if err := r.setHandlers(); err != nil {
		return nil, err
	}
	if r.stream, err = newStreamServer(r); err != nil {
		return nil, err
	}
	return r, r.load()
}

// setHandlers makes the OCI runtimes: one for each handler, "" being the default.
func (r *Runtime) setHandlers() error {
	made := map[string]oci.Runtime{}
	add := func(handler, path string) error {
		rt, ok := made[path]
		if !ok {
			if path == "" {
				rt = oci.NewBuiltin(r.tree, filepath.Join(r.deps.Run, "root"))
			} else {
				ext, err := oci.NewExternal(path, filepath.Join(r.deps.Run, "oci"))
				if err != nil {
					return fmt.Errorf("runtime handler %q: %w", handler, err)
				}
				rt = ext
			}
			made[path] = rt
		}
		r.oci[handler] = rt
		return nil
	}
	if err := add("", r.deps.OCIRuntime); err != nil {
		return err
	}
	for handler, path := range r.deps.Handlers {
		if err := add(handler, path); err != nil {
			return err
		}
	}
	return nil
}

// Run adopts what still runs, removes what was left half made, serves streams, and follows every keeper until ctx ends.
// Containers go on running after that.
func (r *Runtime) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	r.work = ctx
	r.mu.Unlock()
	r.adopt(ctx)
	close(r.adopted)
	err := r.stream.run(ctx)
	cancel()
	r.wg.Wait()
	r.events.close()
	r.binary.Close()
	return err
}

// await blocks until Run has adopted what runs.
func (r *Runtime) await(ctx context.Context) error {
	select {
	case <-r.adopted:
		return nil
	default:
	}
	select {
	case <-r.adopted:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// background runs f in a goroutine that Run waits for, with a context that outlives the request and ends at limit.
func (r *Runtime) background(limit time.Duration, f func(ctx context.Context)) {
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.work), limit)
		defer cancel()
		f(ctx)
	})
}

// pod and container find things by ID or by the start of one that fits nothing else.
func (r *Runtime) pod(ctx context.Context, id string) (*pod, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := find(r.pods, id)
	if err != nil {
		return nil, status.Errorf(codes.NotFound, "pod sandbox %q: %v", id, err)
	}
	return p, nil
}

func (r *Runtime) container(ctx context.Context, id string) (*ctr, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := find(r.containers, id)
	if err != nil {
		return nil, status.Errorf(codes.NotFound, "container %q: %v", id, err)
	}
	return c, nil
}

func find[T any](table map[string]T, id string) (T, error) {
	var none T
	if x, ok := table[id]; ok {
		return x, nil
	}
	if len(id) < 4 {
		return none, errors.New("not found")
	}
	var found []T
	for have, x := range table {
		if len(have) > len(id) && have[:len(id)] == id {
			found = append(found, x)
		}
	}
	switch len(found) {
	case 0:
		return none, errors.New("not found")
	case 1:
		return found[0], nil
	}
	return none, errors.New("the short ID fits several")
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
