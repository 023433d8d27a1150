package cri

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/cgroup"
	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/wire"
	"proa.dev/runtime/oci"
	"proa.dev/runtime/sandbox"
)

// pod is a sandbox.
type pod struct {
	id     string
	config *runtimeapi.PodSandboxConfig // never changes
	paths  sandbox.Paths
	op     sync.Mutex // verbs on the pod take turns
	kept   keptIn

	// Guarded by Runtime.mu:
	rec    podRecord
	keeper *keeper.Keeper // nil when not ready
	ending bool           // the keeper is being stopped: its end is no loss
	events sync.Mutex     // not guarded by mu: orders the events of one pod
}

// podRecord is what is kept of a sandbox on disk.
type podRecord struct {
	Version   int
	ID        string
	CreatedAt int64
	Handler   string
	Config    []byte // runtimeapi.PodSandboxConfig
	Phase     string // phaseMaking, phaseReady, phaseStopped
	IPs       []netip.Addr
	Cgroup    string // parent of the containers' groups
	OwnCgroup bool   // made by the runtime, so removed by it
}

const (
	phaseMaking  = "making"  // a crash now leaves something to be swept
	phaseReady   = "ready"   // the keeper runs
	phaseStopped = "stopped" // processes and network are gone
)

// ctr is a container.
type ctr struct {
	id     string
	pod    *pod
	config *runtimeapi.ContainerConfig // never changes, but for resources (see rec.Resources)
	dir    string
	op     sync.Mutex    // verbs on the container take turns
	ended  chan struct{} // closed when it is exited
	kept   keptIn

	// Guarded by Runtime.mu:
	rec     ctrRecord
	removed bool
	oci     *oci.Container                      // made when first needed
	updated *runtimeapi.LinuxContainerResources // rec.Resources, decoded; nil before an update
	size    layerSize                           // when last measured
}

// ctrRecord is what is kept of a container on disk.
type ctrRecord struct {
	Version    int
	ID, Pod    string
	CreatedAt  int64
	StartedAt  int64
	FinishedAt int64
	State      runtimeapi.ContainerState
	ExitCode   int32
	Reason     string
	Message    string
	Config     []byte // runtimeapi.ContainerConfig
	Resources  []byte // runtimeapi.LinuxContainerResources, after an update
	ImageID    string
	Image      ocispec.ImageConfig
	Root       oci.Root
	Images     []oci.ImageMount
	ImageKeys  []string // further roots held in the image store, for image volumes
	LogPath    string
	User       wire.Created
	Stopping   bool // asked to stop: a later exit is no surprise
}

// newID returns 64 random hexadecimal digits.
func newID() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// podName and ctrName are what may exist once: a kubelet that lost an answer asks again with the same.
func podName(m *runtimeapi.PodSandboxMetadata) string {
	return fmt.Sprintf("pod %s/%s %s #%d", m.GetNamespace(), m.GetName(), m.GetUid(), m.GetAttempt())
}

func ctrName(pod string, m *runtimeapi.ContainerMetadata) string {
	return fmt.Sprintf("container %s #%d of %s", m.GetName(), m.GetAttempt(), pod)
}

// reserve takes a name for an ID.
func (r *Runtime) reserve(name, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if have, ok := r.names[name]; ok {
		return fmt.Errorf("%s exists already as %s", name, have)
	}
	r.names[name] = id
	return nil
}

func (r *Runtime) release(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.names, name)
}

// savePod and saveCtr write a record. They take a snapshot of it, so the caller needs no lock.
func (r *Runtime) savePod(p *pod) error {
	r.mu.Lock()
	rec := p.rec
	r.mu.Unlock()
	return p.kept.save(p.paths.Dir, rec)
}

func (r *Runtime) saveCtr(c *ctr) error {
	r.mu.Lock()
	rec := c.rec
	r.mu.Unlock()
	return c.kept.save(c.dir, rec)
}

// save writes a record as a new file and then removes the one before, so that at every moment one is whole. The files are
// numbered rather than renamed over each other: ext4 writes a file out at once when it is renamed over another, which costs
// more than all the rest. Nothing is flushed to disk: what a crash of the machine loses does not run any more either.
func (k *keptIn) save(dir string, rec any) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	name := filepath.Join(dir, recordName(k.number+1))
	if err := os.WriteFile(name, data, 0o600); err != nil {
		os.Remove(name)
		return err
	}
	old := filepath.Join(dir, recordName(k.number))
	k.number++
	if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// keptIn is the record of one thing on disk.
type keptIn struct {
	mu     sync.Mutex // guards number, and one save at a time
	number uint64
}

func recordName(n uint64) string { return fmt.Sprintf("record.%d.json", n) }

// read calls parse with the newest record first, until one is whole.
func (k *keptIn) read(dir string, parse func([]byte) bool) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	var numbers []uint64
	for _, e := range entries {
		var n uint64
		if _, err := fmt.Sscanf(e.Name(), "record.%d.json", &n); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for _, n := range slices.Backward(numbers) {
		data, err := os.ReadFile(filepath.Join(dir, recordName(n)))
		if err != nil {
			return false, err
		}
		if parse(data) {
			k.number = n
			return true, nil
		}
		if err := os.Remove(filepath.Join(dir, recordName(n))); err != nil {
			return false, err
		}
	}
	return false, nil
}

// load reads all records. Directories without a readable record are what a crash left of something that nobody was told of:
// they are removed, or, for sandboxes, swept by adopt.
func (r *Runtime) load() error {
	err := r.eachRecord("sandboxes", func(id, dir string) (bool, error) {
		p := &pod{id: id, config: &runtimeapi.PodSandboxConfig{}, paths: sandbox.PathsOf(r.deps.Root, r.deps.Run, id)}
		ok, err := p.kept.read(dir, func(data []byte) bool {
			p.rec = podRecord{}
			return json.Unmarshal(data, &p.rec) == nil && proto.Unmarshal(p.rec.Config, p.config) == nil
		})
		if ok {
			r.pods[id] = p
			r.names[podName(p.config.GetMetadata())] = id
		}
		return ok, err
	})
	if err != nil {
		return err
	}
	return r.eachRecord("containers", func(id, dir string) (bool, error) {
		c := &ctr{id: id, config: &runtimeapi.ContainerConfig{}, dir: dir, ended: make(chan struct{})}
		ok, err := c.kept.read(dir, c.parse)
		if !ok || err != nil {
			return false, err
		}
		if c.pod = r.pods[c.rec.Pod]; c.pod == nil {
			return false, nil
		}
		if c.rec.State == runtimeapi.ContainerState_CONTAINER_EXITED {
			close(c.ended)
		}
		r.containers[id] = c
		r.names[ctrName(c.pod.id, c.config.GetMetadata())] = id
		return true, nil
	})
}

// parse takes over a record.
func (c *ctr) parse(data []byte) bool {
	c.rec, c.updated = ctrRecord{}, nil
	if json.Unmarshal(data, &c.rec) != nil || proto.Unmarshal(c.rec.Config, c.config) != nil {
		return false
	}
	if len(c.rec.Resources) == 0 {
		return true
	}
	c.updated = &runtimeapi.LinuxContainerResources{}
	return proto.Unmarshal(c.rec.Resources, c.updated) == nil
}

func (r *Runtime) eachRecord(kind string, load func(id, dir string) (bool, error)) error {
	all := filepath.Join(r.deps.Root, kind)
	entries, err := os.ReadDir(all)
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(all, e.Name())
		ok, err := load(e.Name(), dir)
		if err != nil {
			return fmt.Errorf("read %s: %w", dir, err)
		}
		if ok {
			continue
		}
		r.log.Warn("removing what a crash left", "kind", kind, "id", e.Name())
		if kind == "sandboxes" {
			err = r.sweepSandbox(e.Name())
		} else {
			err = r.deps.Images.Release(context.Background(), e.Name()) // before Run there is no other context
		}
		if err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// group is the cgroup of a container.
func (r *Runtime) group(c *ctr) *cgroup.Group {
	return r.tree.At(filepath.Join(c.pod.rec.Cgroup, c.id))
}

// resources are a container's limits as last set. The caller holds the runtime's lock, and only reads them.
func (c *ctr) resources() *runtimeapi.LinuxContainerResources {
	if c.updated != nil {
		return c.updated
	}
	return c.config.GetLinux().GetResources()
}
