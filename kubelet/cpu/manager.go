package cpu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/cpuset"

	"proa.dev/kit/atomicfile"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/topology"
)

// The policies.
const (
	None   = "none"
	Static = "static"
)

// stateFile is below the kubelet's directory, in the form that tools for it read.
const stateFile = "cpu_manager_state"

// Config is what a Manager starts from.
type Config struct {
	Policy   string            // default None
	Options  map[string]string // of the static policy, as Kubernetes names them
	Reserved cpuset.CPUSet     // never given to single containers
	// ReservedCount is how many are reserved where Reserved does not say which.
	ReservedCount int
	Machine       *topology.Machine
	Topology      string // the topology policy
	Root          string // the kubelet's directory
	Log           *slog.Logger
}

// Manager knows who has which CPUs. With the policy none it gives nothing.
type Manager struct {
	Config
	opt      options
	reserved cpuset.CPUSet
	siblings cpuset.CPUSet // all threads of cores that have reserved ones
	counts   counts

	mu     sync.Mutex // guards what follows
	shared cpuset.CPUSet
	given  map[types.UID]map[string]cpuset.CPUSet // by pod and container
}

// options are those of the static policy.
type options struct {
	wholeCores, acrossNodes, bySocket, acrossCores, strict, byCache bool
}

func readOptions(in map[string]string) (o options, err error) {
	fields := map[string]*bool{
		"full-pcpus-only": &o.wholeCores, "distribute-cpus-across-numa": &o.acrossNodes, "align-by-socket": &o.bySocket,
		"distribute-cpus-across-cores": &o.acrossCores, "strict-cpu-reservation": &o.strict, "prefer-align-cpus-by-uncorecache": &o.byCache,
	}
	for name, value := range in {
		f := fields[name]
		if f == nil {
			return o, fmt.Errorf("unknown CPU Manager Policy option: %q", name)
		}
		if *f, err = strconv.ParseBool(value); err != nil {
			return o, fmt.Errorf("bad value for option %q: %w", name, err)
		}
	}
	for _, pair := range [][2]string{
		{"full-pcpus-only", "distribute-cpus-across-cores"}, {"distribute-cpus-across-numa", "distribute-cpus-across-cores"},
		{"prefer-align-cpus-by-uncorecache", "distribute-cpus-across-cores"}, {"prefer-align-cpus-by-uncorecache", "distribute-cpus-across-numa"},
	} {
		if *fields[pair[0]] && *fields[pair[1]] {
			return o, fmt.Errorf("static policy options %s and %s can not be used at the same time", pair[0], pair[1])
		}
	}
	return o, nil
}

// New reads what an earlier process gave.
func New(c Config) (*Manager, error) {
	m := &Manager{Config: c, given: map[types.UID]map[string]cpuset.CPUSet{}}
	switch c.Policy {
	case "", None:
		m.Policy = None
		return m, nil
	case Static:
	default:
		return nil, fmt.Errorf("unknown policy: %q; kubelet.cpuManagerPolicy is none or static", c.Policy)
	}
	var err error
	if m.opt, err = readOptions(c.Options); err != nil {
		return nil, err
	}
	if m.opt.bySocket && c.Topology == topology.SingleNUMA {
		return nil, fmt.Errorf("topology manager policy %s is incompatible with the CPU manager's policy option align-by-socket", c.Topology)
	}
	if m.opt.bySocket && c.Machine.Count(c.Machine.All(), bySocket) > len(c.Machine.Nodes) {
		return nil, errors.New("align-by-socket is not compatible with hardware where number of sockets are more than number of NUMA")
	}
	if m.reserved = c.Reserved; m.reserved.IsEmpty() {
		if c.ReservedCount == 0 {
			return nil, errors.New("the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero")
		}
		if m.reserved, err = m.take(c.Machine.All(), c.ReservedCount); err != nil {
			return nil, fmt.Errorf("reserve CPUs: %w", err)
		}
	}
	if !m.reserved.IsSubsetOf(c.Machine.All()) {
		return nil, fmt.Errorf("reserved CPUs %s are not all online: %s", m.reserved, c.Machine.All())
	}
	m.siblings = cpuset.New()
	for _, core := range ids(c.Machine, m.reserved, byCore) {
		m.siblings = m.siblings.Union(inside(c.Machine, c.Machine.All(), byCore, core))
	}
	if err := m.load(); err != nil {
		return nil, fmt.Errorf("could not restore state from checkpoint: %w, please drain this node and delete the CPU manager checkpoint file %q before restarting Kubelet",
			err, filepath.Join(c.Root, stateFile))
	}
	return m, nil
}

// pool is what is to be shared and given: all but what is strictly reserved.
func (m *Manager) pool() cpuset.CPUSet {
	if m.opt.strict {
		return m.Machine.All().Difference(m.reserved)
	}
	return m.Machine.All()
}

// take chooses n of the free CPUs as the options say.
func (m *Manager) take(free cpuset.CPUSet, n int) (cpuset.CPUSet, error) {
	if m.opt.acrossNodes {
		group := 1
		if m.opt.wholeCores {
			group = perCore(m.Machine)
		}
		return distributed(m.Machine, free, n, group, m.opt.bySocket)
	}
	return packed(m.Machine, free, n, m.opt.acrossCores, m.opt.byCache)
}

// Whole is how many CPUs a container has for itself; 0: it shares.
func Whole(pod *core.Pod, c *core.Container) int {
	q, ok := c.Resources.Requests[core.ResourceCPU]
	if !ok {
		q = c.Resources.Limits[core.ResourceCPU]
	}
	if q.Value()*1000 != q.MilliValue() || spec.QOS(pod) != core.PodQOSGuaranteed || pod.Spec.Resources != nil {
		return 0
	}
	return int(q.Value())
}

// Wants says whether a container gets CPUs for itself.
func (m *Manager) Wants(pod *core.Pod, c *core.Container) bool {
	return m.Policy == Static && Whole(pod, c) > 0
}

// AlignmentError is why CPUs cannot be had by whole cores.
type AlignmentError string

// Error implements error.
func (e AlignmentError) Error() string { return string(e) }

// Reason is that of a pod that fails for it.
func (AlignmentError) Reason() string { return "SMTAlignmentError" }

// Allocate gives a container its CPUs, from the nodes of the hint first. Containers of a pod come in the order that they run.
func (m *Manager) Allocate(pod *core.Pod, c *core.Container, hint topology.Hint) error {
	n := Whole(pod, c)
	if m.Policy != Static || n == 0 {
		return nil
	}
	err := m.give(pod, c, n, hint)
	m.note(err)
	return err
}

func (m *Manager) give(pod *core.Pod, c *core.Container, n int, hint topology.Hint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.given[pod.UID][c.Name]; ok {
		return nil
	}
	if m.opt.wholeCores {
		threads, free := perCore(m.Machine), m.shared.Difference(m.siblings).Size()
		if n%threads != 0 {
			return AlignmentError(fmt.Sprintf("SMT Alignment Error: requested %d cpus not multiple cpus per core = %d", n, threads))
		}
		if n > free {
			return AlignmentError(fmt.Sprintf("SMT Alignment Error: not enough free physical CPUs: available physical CPUs = %d, requested CPUs = %d, CPUs per core = %d", free, n, threads))
		}
	}
	free := m.shared.Difference(m.reserved).Union(m.reusable(pod))
	set := cpuset.New()
	if !hint.Any && hint.Nodes != 0 {
		near := m.near(hint.Nodes, free)
		var err error
		if set, err = m.take(near, min(n, near.Size())); err != nil {
			return err
		}
	}
	rest, err := m.take(free.Difference(set), n-set.Size())
	if err != nil {
		return err
	}
	set = set.Union(rest)
	m.shared = m.shared.Difference(set)
	if m.given[pod.UID] == nil {
		m.given[pod.UID] = map[string]cpuset.CPUSet{}
	}
	m.given[pod.UID][c.Name] = set
	return m.save()
}

// near are the free CPUs on the nodes, or on the sockets that have them.
func (m *Manager) near(nodes topology.Mask, free cpuset.CPUSet) cpuset.CPUSet {
	on := m.Machine.Where(func(c topology.CPU) bool { return nodes.Has(c.Node) })
	if !m.opt.bySocket {
		return free.Intersection(on)
	}
	out := cpuset.New()
	for _, s := range ids(m.Machine, on, bySocket) {
		out = out.Union(inside(m.Machine, free, bySocket, s))
	}
	return out
}

// reusable are the CPUs of init containers that have ended when the next container of the pod runs. m.mu is held.
func (m *Manager) reusable(pod *core.Pod) cpuset.CPUSet {
	ended, taken := cpuset.New(), cpuset.New()
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if spec.Sidecar(c) {
			taken = taken.Union(m.given[pod.UID][c.Name])
		} else {
			ended = ended.Union(m.given[pod.UID][c.Name])
		}
	}
	for i := range pod.Spec.Containers {
		taken = taken.Union(m.given[pod.UID][pod.Spec.Containers[i].Name])
	}
	return ended.Difference(taken)
}

// Release takes back what a pod had, and says whether that was anything.
func (m *Manager) Release(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.release(uid)
}

func (m *Manager) release(uid types.UID) bool {
	had := m.given[uid]
	if len(had) == 0 {
		return false
	}
	for _, set := range had {
		m.shared = m.shared.Union(set)
	}
	delete(m.given, uid)
	if err := m.save(); err != nil {
		m.Log.Warn("CPU state not written", "err", err)
	}
	return true
}

// Keep takes back what pods had that are not live any more.
func (m *Manager) Keep(live func(types.UID) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid := range maps.Clone(m.given) {
		if !live(uid) {
			m.release(uid)
		}
	}
}

// Set are the CPUs that a container may run on, in the kernel's form; "" is any. own says that it has them for itself.
func (m *Manager) Set(uid types.UID, container string) (cpus string, own bool) {
	if m.Policy != Static {
		return "", false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if set, ok := m.given[uid][container]; ok {
		return set.String(), true
	}
	return m.shared.String(), false
}

// of are the CPUs that containers of a pod have for themselves.
func (m *Manager) of(uid types.UID) cpuset.CPUSet {
	all := cpuset.New()
	for _, set := range m.given[uid] {
		all = all.Union(set)
	}
	return all
}

// Own are the CPUs that a container has for itself.
func (m *Manager) Own(uid types.UID, container string) cpuset.CPUSet {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.given[uid][container].Clone()
}

// Allocatable are all CPUs that may be given to single containers.
func (m *Manager) Allocatable() cpuset.CPUSet {
	if m.Policy != Static {
		return cpuset.New()
	}
	return m.Machine.All().Difference(m.reserved)
}

// state is the form of the file.
type state struct {
	PolicyName    string                       `json:"policyName"`
	DefaultCPUSet string                       `json:"defaultCpuSet"`
	Entries       map[string]map[string]string `json:"entries,omitempty"`
}

// save writes the state. m.mu is held.
func (m *Manager) save() error {
	s := state{PolicyName: m.Policy, DefaultCPUSet: m.shared.String(), Entries: map[string]map[string]string{}}
	for uid, containers := range m.given {
		s.Entries[string(uid)] = map[string]string{}
		for name, set := range containers {
			s.Entries[string(uid)][name] = set.String()
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(m.Root, stateFile), b, 0o600)
}

// load reads the state. One without entries is started over: nobody depends on it.
func (m *Manager) load() error {
	m.shared = m.pool()
	b, err := os.ReadFile(filepath.Join(m.Root, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var s state
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil || len(s.Entries) == 0 {
		return err
	}
	if s.PolicyName != m.Policy {
		return fmt.Errorf("configured policy %q differs from state checkpoint policy %q", m.Policy, s.PolicyName)
	}
	for uid, containers := range s.Entries {
		m.given[types.UID(uid)] = map[string]cpuset.CPUSet{}
		for name, text := range containers {
			set, err := topology.ParseSet(text)
			if err != nil {
				return fmt.Errorf("could not parse cpuset %q for container %q in pod %q: %w", text, name, uid, err)
			}
			if !set.IsSubsetOf(m.pool()) {
				return fmt.Errorf("current set of available CPUs %q doesn't match with CPUs in state %q", m.pool(), set)
			}
			if held := set.Intersection(m.reserved); !held.IsEmpty() {
				return fmt.Errorf("reserved cpus %q are those of container %q in pod %q", held, name, uid)
			}
			m.given[types.UID(uid)][name] = set
		}
		has := m.of(types.UID(uid)) // containers of one pod may have the same, one after the other
		if twice := has.Difference(m.shared); !twice.IsEmpty() {
			return fmt.Errorf("CPUs %q of pod %q are those of another pod, too", twice, uid)
		}
		m.shared = m.shared.Difference(has)
	}
	return nil
}
