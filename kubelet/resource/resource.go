package resource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/cpuset"

	"proa.dev/client"
	"proa.dev/kit/run"
	"proa.dev/kubelet/cpu"
	"proa.dev/kubelet/device"
	"proa.dev/kubelet/dra"
	"proa.dev/kubelet/memory"
	"proa.dev/kubelet/plugin"
	"proa.dev/kubelet/pod"
	"proa.dev/kubelet/podresources"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
	"proa.dev/kubelet/topology"
)

// Config is what a Manager starts from. Root is required.
type Config struct {
	Client  client.Client // as the node
	Node    string
	Root    string          // the kubelet's directory
	Plugins *plugin.Watcher // finds plugins by their sockets; nil: they register themselves only
	Machine *topology.Machine
	Log     *slog.Logger
	Policies
}

// Policies are how CPUs and memory are given, with Kubernetes' names and meanings. The zero value gives nothing.
type Policies struct {
	CPU             string
	CPUOptions      map[string]string
	ReservedCPUs    cpuset.CPUSet
	ReservedCount   int // how many CPUs, where ReservedCPUs does not say which
	Memory          string
	ReservedMemory  map[int]core.ResourceList
	KeptMemory      quantity.Quantity // from all pods, so the sum of that
	Topology        string
	TopologyScope   string
	TopologyOptions map[string]string
}

// Manager is what of a node is given to single pods. It implements pod.Resources and node.Devices.
type Manager struct {
	Config
	devices *device.Manager
	claims  *dra.Manager
	cpus    *cpu.Manager
	memory  *memory.Manager
	align   topology.Policy
	counts  topology.Counts
	answers podresources.Answers
	tasks   sync.WaitGroup // what Keep leaves to be done; Run waits for it

	admitting sync.Mutex // held while one pod is given all that it asks for

	mu   sync.Mutex // guards what follows
	host pod.Host
	life context.Context // of Run
}

// New reads what an earlier process gave. It starts nothing.
func New(c Config) (*Manager, error) {
	m := &Manager{Config: c, life: context.Background()}
	var err error
	m.devices, err = device.New(c.Root, c.Machine.NodeIDs(), m.renew, c.Log)
	if err != nil {
		return nil, fmt.Errorf("resources: %w", err)
	}
	m.claims, err = dra.New(dra.Config{Client: c.Client, Node: c.Node, Root: c.Root, Renew: m.renew, Log: c.Log})
	if err != nil {
		return nil, fmt.Errorf("resources: %w", err)
	}
	if m.align, err = topology.NewPolicy(c.Topology, c.TopologyScope, c.TopologyOptions, c.Machine); err != nil {
		return nil, fmt.Errorf("topology manager: %w", err)
	}
	m.cpus, err = cpu.New(cpu.Config{
		Policy: c.CPU, Options: c.CPUOptions, Reserved: c.ReservedCPUs, ReservedCount: c.ReservedCount, Machine: c.Machine, Topology: c.Topology, Root: c.Root, Log: c.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("CPU manager: %w", err)
	}
	m.memory, err = memory.New(memory.Config{Policy: c.Memory, Reserved: c.ReservedMemory, Kept: c.KeptMemory, Machine: c.Machine, Root: c.Root, Log: c.Log})
	if err != nil {
		return nil, fmt.Errorf("memory manager: %w", err)
	}
	if c.Plugins != nil {
		c.Plugins.Handle(plugin.Device, m.devices.Handler())
		c.Plugins.Handle(plugin.DRA, m.claims)
	}
	return m, nil
}

// Run serves the sockets until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	m.life = ctx
	m.mu.Unlock()
	defer m.tasks.Wait()
	parts := []run.Component{{Name: "claims of pods", Run: m.claims.Run}}
	for socket, part := range map[string]run.Component{
		device.Socket:       {Name: "device plugins", Run: m.devices.Run},
		podresources.Socket: {Name: "pod-resources API", Run: func(ctx context.Context) error { return podresources.Serve(ctx, m.Root, m, &m.answers) }},
	} {
		if len(filepath.Join(m.Root, socket)) > maxSocket { // nobody could be there
			m.Log.Warn("not served: the kubelet's directory has too long a name for a socket", "part", part.Name, "dir", m.Root)
			continue
		}
		parts = append(parts, part)
	}
	return run.All(ctx, parts...)
}

// maxSocket is how long the path of a unix socket may be, in bytes.
const maxSocket = 107

// Bind names who runs the pods; before that nobody is told of changes.
func (m *Manager) Bind(h pod.Host) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.host = h
}

// renew has a pod looked at again.
func (m *Manager) renew(uid types.UID) {
	m.mu.Lock()
	h := m.host
	m.mu.Unlock()
	if h != nil {
		h.Touch(uid)
	}
}

// Wants says whether a pod has to be admitted here.
func (m *Manager) Wants(p *core.Pod) bool {
	wants := false
	each(p, func(c *core.Container) {
		wants = wants || m.cpus.Wants(p, c) || m.memory.Wants(p, c)
		for name := range c.Resources.Limits {
			wants = wants || m.devices.Handles(name)
		}
	})
	return wants
}

// Handles says whether it is up to Admit how much of a resource the node has.
func (m *Manager) Handles(name core.ResourceName) bool { return m.devices.Handles(name) }

// each calls fn for the containers of a pod in the order that they run.
func each(p *core.Pod, fn func(*core.Container)) {
	for i := range p.Spec.InitContainers {
		fn(&p.Spec.InitContainers[i])
	}
	for i := range p.Spec.Containers {
		fn(&p.Spec.Containers[i])
	}
}

// Admit gives a pod all that it asks for, or says why it cannot; then it keeps nothing.
func (m *Manager) Admit(ctx context.Context, p *core.Pod) *status.Reason {
	m.admitting.Lock()
	defer m.admitting.Unlock()
	began := time.Now()
	no := m.allocate(ctx, p)
	m.counts.Admitted(began, no)
	if no == nil {
		m.repin()
		return nil
	}
	m.free(p.UID)
	var why interface{ Reason() string }
	if errors.As(no, &why) {
		return &status.Reason{Reason: why.Reason(), Message: no.Error()}
	}
	return &status.Reason{
		Reason:  "UnexpectedAdmissionError",
		Message: fmt.Sprintf("Allocate failed due to %v, which is unexpected", no),
	}
}

// affinityError is that what the parts have does not go together as the policy wants it.
type affinityError struct{}

// Error implements error.
func (affinityError) Error() string { return "Resources cannot be allocated with Topology locality" }

// Reason is that of a pod that fails for it.
func (affinityError) Reason() string { return "TopologyAffinityError" }

// allocate gives all containers what they ask for, as near to each other as the topology policy wants it.
func (m *Manager) allocate(ctx context.Context, p *core.Pod) (no error) {
	hint, in := topology.Hint{Any: true}, true
	sure := m.align.Name == topology.SingleNUMA
	if m.align.Name != topology.None && m.align.Scope == topology.ByPod {
		if hint, in = m.align.Merge(m.hints(p, nil)); !in {
			if sure {
				m.counts.Together("pod", "numa_node", false)
			}
			return affinityError{}
		}
	}
	each(p, func(c *core.Container) {
		if no != nil {
			return
		}
		if m.align.Name != topology.None && m.align.Scope == topology.ByContainer {
			if hint, in = m.align.Merge(m.hints(p, c)); !in {
				if sure {
					m.counts.Together("container", "numa_node", false)
				}
				no = affinityError{}
				return
			}
		}
		if no = m.give(ctx, p, c, hint); no == nil && sure && m.align.Scope == topology.ByContainer {
			m.counts.Together("container", "numa_node", true)
		}
	})
	if no == nil && sure && m.align.Scope == topology.ByPod {
		m.counts.Together("pod", "numa_node", true)
	}
	return no
}

func (m *Manager) give(ctx context.Context, p *core.Pod, c *core.Container, hint topology.Hint) error {
	if err := m.devices.Allocate(ctx, p, c, hint); err != nil {
		return err
	}
	err := m.cpus.Allocate(p, c, hint)
	if m.cpus.ByCores() && m.cpus.Wants(p, c) {
		m.counts.Together("container", "physical_cpu", err == nil)
	}
	if err != nil {
		return err
	}
	return m.memory.Allocate(p, c, hint)
}

func (m *Manager) hints(p *core.Pod, c *core.Container) []topology.Hints {
	return []topology.Hints{m.devices.Hints(p, c), m.cpus.Hints(p, c), m.memory.Hints(p, c)}
}

// free takes back what can be had again at once.
func (m *Manager) free(uid types.UID) {
	m.devices.Release(uid)
	m.memory.Release(uid)
	if m.cpus.Release(uid) {
		m.repin()
	}
}

// repin has those who share CPUs told which are left.
func (m *Manager) repin() {
	m.mu.Lock()
	h := m.host
	m.mu.Unlock()
	if h != nil && m.cpus.Policy == cpu.Static {
		h.Repin()
	}
}

// Fixed is why what a pod asks for cannot change: what a guaranteed pod was given for itself was measured by that.
func (m *Manager) Fixed(before, now *core.Pod) string {
	if spec.QOS(now) != core.PodQOSGuaranteed {
		return ""
	}
	changes := func(name core.ResourceName) (yes bool) {
		each(now, func(c *core.Container) {
			if old, _ := spec.FindContainer(before, c.Name); old != nil {
				a, b := old.Resources.Requests[name], c.Resources.Requests[name]
				yes = yes || a.Cmp(b) != 0
			}
		})
		return yes
	}
	const no = "Resize is infeasible for Guaranteed Pods alongside %s Manager policy %q"
	switch {
	case m.cpus.Policy == cpu.Static && changes(core.ResourceCPU):
		return fmt.Sprintf(no, "CPU", cpu.Static)
	case m.memory.Policy == memory.Static && changes(core.ResourceMemory):
		return fmt.Sprintf(no, "Memory", memory.Static)
	}
	return ""
}

// Place says on which CPUs and with memory of which NUMA nodes a container runs; "" is any.
func (m *Manager) Place(p *core.Pod, c *core.Container) (cpus, mems string) {
	cpus, _ = m.cpus.Set(p.UID, c.Name)
	if m.memory.Policy == memory.Static {
		mems = m.memory.Set(p.UID, c.Name)
	}
	return cpus, mems
}

// Prepare makes ready what the pod was given.
func (m *Manager) Prepare(ctx context.Context, p *core.Pod) error { return m.claims.Prepare(ctx, p) }

// Shape takes the quota off a pod that has CPUs for itself: those are the limit, and a quota would only interrupt it.
func (m *Manager) Shape(p *core.Pod, config *runtimeapi.PodSandboxConfig) {
	l := config.GetLinux().GetResources()
	if l == nil || m.cpus.Policy != cpu.Static {
		return
	}
	each(p, func(c *core.Container) {
		if _, own := m.cpus.Set(p.UID, c.Name); own {
			l.CpuQuota = 0
		}
	})
}

// Add completes the configuration of an instance of a container by what the container was given.
func (m *Manager) Add(ctx context.Context, p *core.Pod, c *core.Container, config *runtimeapi.ContainerConfig) error {
	if err := m.devices.Add(ctx, p, c, config); err != nil {
		return err
	}
	m.memory.Start(p, c)
	if l := config.GetLinux().GetResources(); l != nil {
		l.CpusetCpus, l.CpusetMems = m.Place(p, c)
		if _, own := m.cpus.Set(p.UID, c.Name); own {
			l.CpuQuota = -1 // see Shape
		}
	}
	return m.claims.Add(p, c, config)
}

// Release takes back what a pod had, whose containers have ended.
func (m *Manager) Release(ctx context.Context, uid types.UID) error {
	m.free(uid)
	return m.claims.Release(ctx, uid)
}

// Keep takes back what pods had that are not live any more.
func (m *Manager) Keep(live func(types.UID) bool) {
	m.devices.Keep(live)
	m.cpus.Keep(live)
	m.memory.Keep(live)
	m.tasks.Go(m.repin) // whoever calls may hold what Repin needs
	stale := m.claims.Stale(live)
	m.mu.Lock()
	life := m.life
	m.mu.Unlock()
	if len(stale) > 0 {
		m.tasks.Go(func() { m.insist(life, stale) })
	}
}

// What is between two attempts to take back what a driver does not give.
const (
	insistMin = time.Second
	insistMax = 5 * time.Minute
)

// insist takes back what pods had that nobody looks after any more.
func (m *Manager) insist(ctx context.Context, pods []types.UID) {
	for wait := insistMin; len(pods) > 0; wait = min(2*wait, insistMax) {
		pods = slices.DeleteFunc(pods, func(uid types.UID) bool {
			err := m.claims.Release(ctx, uid)
			if err != nil && ctx.Err() == nil {
				m.Log.Warn("claims of a former pod not taken back", "uid", uid, "err", err)
			}
			return err == nil
		})
		if len(pods) == 0 {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// Statuses is how that is which a container was given.
func (m *Manager) Statuses(p *core.Pod, container string) []core.ResourceStatus {
	out := m.devices.Statuses(p.UID, container)
	if dra.Claims(p) {
		for i := range p.Spec.Containers {
			if c := &p.Spec.Containers[i]; c.Name == container {
				out = append(out, m.claims.Statuses(p, c)...)
			}
		}
	}
	return out
}

// Capacity is what plugins add to the node; gone are resources that they used to.
func (m *Manager) Capacity() (capacity, allocatable core.ResourceList, gone []core.ResourceName) {
	return m.devices.Capacity(time.Now())
}

// Changed holds a token after Capacity may have changed.
func (m *Manager) Changed() <-chan struct{} { return m.devices.Changed() }
