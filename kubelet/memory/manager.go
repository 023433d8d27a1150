package memory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kit/atomicfile"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/topology"
)

// The policies.
const (
	None   = "None"
	Static = "Static"
)

// stateFile is below the kubelet's directory.
const stateFile = "memory_manager_state"

// Config is what a Manager starts from.
type Config struct {
	Policy   string                    // default None
	Reserved map[int]core.ResourceList // by NUMA node: not for pods
	Kept     resource.Quantity         // memory that the node keeps from pods: the sum of Reserved
	Machine  *topology.Machine
	Root     string // the kubelet's directory
	Log      *slog.Logger
}

// Manager knows on which nodes containers have their memory. With the policy None it says nothing.
type Manager struct {
	Config
	room   room
	counts counts

	mu    sync.Mutex // guards given
	given map[types.UID]map[string][]block
}

// New reads what an earlier process gave.
func New(c Config) (*Manager, error) {
	m := &Manager{Config: c, given: map[types.UID]map[string][]block{}, room: room{}}
	switch c.Policy {
	case "", None:
		m.Policy = None
		return m, nil
	case Static:
	default:
		return nil, fmt.Errorf("unknown policy: %q; kubelet.memoryManagerPolicy is None or Static", c.Policy)
	}
	if len(c.Reserved) == 0 {
		return nil, errors.New("the static policy needs reserved memory on at least one NUMA node")
	}
	for _, n := range c.Machine.Nodes {
		have := map[core.ResourceName]uint64{core.ResourceMemory: n.Memory}
		for size, pages := range n.Huge {
			have[core.ResourceName(core.ResourceHugePagesPrefix+resource.NewQuantity(int64(size), resource.BinarySI).String())] = size * pages
			have[core.ResourceMemory] -= min(have[core.ResourceMemory], size*pages)
		}
		for name, q := range c.Reserved[n.ID] {
			have[name] -= min(have[name], uint64(q.Value()))
		}
		m.room[n.ID] = have
	}
	for n := range c.Reserved {
		if m.room[n] == nil {
			return nil, fmt.Errorf("memory is reserved on NUMA node %d, which is not there", n)
		}
	}
	if err := m.checkSum(); err != nil {
		return nil, err
	}
	if err := m.load(); err != nil {
		return nil, fmt.Errorf("could not restore state from checkpoint: %w, please drain this node and delete the memory manager checkpoint file %q before restarting Kubelet",
			err, filepath.Join(c.Root, stateFile))
	}
	return m, nil
}

// checkSum compares what is reserved on single nodes with what the whole machine keeps from pods: else pods would be promised memory that no
// node has, or memory would be nobody's.
func (m *Manager) checkSum() error {
	sums := core.ResourceList{core.ResourceMemory: {}}
	for _, list := range m.Reserved {
		for name, q := range list {
			sum := sums[name]
			sum.Add(q)
			sums[name] = sum
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		kept := resource.Quantity{}
		if name == core.ResourceMemory {
			kept = m.Kept
		}
		if sum := sums[name]; sum.Cmp(kept) != 0 {
			return fmt.Errorf("kubelet.reservedMemory: the total amount %q of type %q is not equal to the value %q determined by Node Allocatable feature (kubeReserved + systemReserved + evictionHard)",
				sum.String(), name, kept.String())
		}
	}
	return nil
}

// Wants says whether a container has its memory on certain nodes.
func (m *Manager) Wants(pod *core.Pod, c *core.Container) bool {
	return m.Policy == Static && len(asks(pod, c)) > 0
}

// asks is what a container of a guaranteed pod asks for.
func asks(pod *core.Pod, c *core.Container) ask {
	if spec.QOS(pod) != core.PodQOSGuaranteed || pod.Spec.Resources != nil {
		return nil
	}
	out := ask{}
	for name, q := range c.Resources.Limits { // equal to the requests, in this class
		if (name == core.ResourceMemory || strings.HasPrefix(string(name), core.ResourceHugePagesPrefix)) && !q.IsZero() {
			out[name] = uint64(q.Value())
		}
	}
	return out
}

// podAsks is what the containers of a pod have at one time, of what those ask for that are not there to prepare: for the rest, each init
// container finds a place when its turn comes.
func podAsks(pod *core.Pod) ask {
	most, sidecars, sum := ask{}, ask{}, ask{}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		for t, n := range asks(pod, c) {
			if spec.Sidecar(c) {
				sidecars[t] += n
			} else {
				most[t] = max(most[t], sidecars[t]+n)
			}
		}
	}
	for i := range pod.Spec.Containers {
		for t, n := range asks(pod, &pod.Spec.Containers[i]) {
			sum[t] += n
		}
	}
	for t := range sum {
		sum[t] = max(sum[t]+sidecars[t], most[t])
	}
	return sum
}

// Hints says from which nodes the memory of a container, or of a pod as a whole (c is nil), could come.
func (m *Manager) Hints(pod *core.Pod, c *core.Container) topology.Hints {
	if m.Policy != Static {
		return nil
	}
	a := podAsks(pod)
	if c != nil {
		a = asks(pod, c)
	}
	if len(a) == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if have := m.has(pod, c); len(have) > 0 { // from an earlier process
		return again(have, a)
	}
	list := m.room.hints(m.Machine.NodeIDs(), m.blocks(), a, m.reusable(pod))
	if len(list) == 0 { // Allocate says so, in words of its own
		return nil
	}
	out := topology.Hints{}
	for t := range a {
		out[string(t)] = list
	}
	return out
}

// has is what a container has; of a pod as a whole, what the first one has that has anything.
func (m *Manager) has(pod *core.Pod, c *core.Container) []block {
	if c != nil {
		return m.given[pod.UID][c.Name]
	}
	for _, list := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if have := m.given[pod.UID][list[i].Name]; len(have) > 0 {
				return have
			}
		}
	}
	return nil
}

// again are the hints to what is had; where that is not what is asked for, it does not matter where the rest comes from.
func again(have []block, a ask) topology.Hints {
	out := topology.Hints{}
	for _, b := range have {
		if b.Size != a[b.Type] {
			return nil
		}
		out[string(b.Type)] = append(out[string(b.Type)], topology.Hint{Nodes: b.mask(), Preferred: true})
	}
	if len(have) != len(a) {
		return nil
	}
	return out
}

// blocks are all that is given. m.mu is held.
func (m *Manager) blocks() (out []block) {
	for _, containers := range m.given {
		for _, list := range containers {
			out = append(out, list...)
		}
	}
	return out
}

// reusable is the memory of init containers of the pod that have ended when its next container runs. m.mu is held.
func (m *Manager) reusable(pod *core.Pod) (out []block) {
	m.ended(pod, func(b *block) { out = append(out, *b) })
	return out
}

func (m *Manager) ended(pod *core.Pod, fn func(*block)) {
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; !spec.Sidecar(c) {
			for j := range m.given[pod.UID][c.Name] {
				fn(&m.given[pod.UID][c.Name][j])
			}
		}
	}
}

// Allocate gives a container its memory, from the nodes of the hint and as few others as it takes. Containers of a pod come in the order that
// they run.
func (m *Manager) Allocate(pod *core.Pod, c *core.Container, hint topology.Hint) error {
	a := asks(pod, c)
	if m.Policy != Static || len(a) == 0 {
		return nil
	}
	err := m.give(pod, c, a, hint)
	m.note(err)
	return err
}

func (m *Manager) give(pod *core.Pod, c *core.Container, a ask, hint topology.Hint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.given[pod.UID][c.Name]) > 0 {
		return nil
	}
	reuse := m.reusable(pod)
	h, err := m.choose(a, reuse, hint)
	if err != nil {
		return err
	}
	var list []block
	for _, t := range slices.Sorted(maps.Keys(a)) {
		b := block{Nodes: h.Nodes.Nodes(), Type: t, Size: a[t]}
		left := b.Size
		m.ended(pod, func(old *block) { // taken over, as far as it is of the same nodes
			if old.Type == t && old.mask() == h.Nodes {
				n := min(left, old.Size)
				old.Size, left = old.Size-n, left-n
			}
		})
		list = append(list, b)
	}
	if m.given[pod.UID] == nil {
		m.given[pod.UID] = map[string][]block{}
	}
	m.given[pod.UID][c.Name] = list
	return m.save()
}

func (m *Manager) choose(a ask, reuse []block, hint topology.Hint) (topology.Hint, error) {
	given := m.blocks()
	all := m.room.hints(m.Machine.NodeIDs(), given, a, reuse)
	if hint.Any || hint.Nodes == 0 {
		h, ok := best(all, 0)
		switch {
		case !ok:
			return h, errors.New("[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available")
		case hint.Preferred && !h.Preferred:
			return h, errors.New("[memorymanager] failed to find the default preferred hint")
		}
		hint = h
	}
	// A single node that is in a group is extended to the group. Kubernetes gives of it alone if that has enough, and then does not start again,
	// because nodes of groups must serve nobody else.
	alone := hint.Nodes.Count() == 1 && !allowed(given, hint.Nodes)
	if alone || !m.room.fits(given, hint.Nodes, a) {
		h, ok := best(all, hint.Nodes)
		switch {
		case !ok:
			return h, errors.New("[memorymanager] failed to find NUMA nodes to extend the current topology hint")
		case hint.Preferred && !h.Preferred:
			return h, errors.New("[memorymanager] failed to find the extended preferred hint")
		}
		hint = h
	}
	if !allowed(given, hint.Nodes) {
		return hint, errors.New("[memorymanager] preferred hint violates NUMA node allocation")
	}
	return hint, nil
}

// Start takes back what init containers had that have ended when c starts: no container of the pod needs it any more.
func (m *Manager) Start(pod *core.Pod, c *core.Container) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := false
	for i := range pod.Spec.InitContainers {
		o := &pod.Spec.InitContainers[i]
		if o.Name == c.Name {
			break
		}
		if _, has := m.given[pod.UID][o.Name]; has && !spec.Sidecar(o) {
			delete(m.given[pod.UID], o.Name)
			changed = true
		}
	}
	if !changed {
		return
	}
	if err := m.save(); err != nil {
		m.Log.Warn("memory state not written", "err", err)
	}
}

// Release takes back what a pod had.
func (m *Manager) Release(uid types.UID) { m.Keep(func(other types.UID) bool { return other != uid }) }

// Keep takes back what pods had that are not live any more.
func (m *Manager) Keep(live func(types.UID) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.given)
	maps.DeleteFunc(m.given, func(uid types.UID, _ map[string][]block) bool { return !live(uid) })
	if len(m.given) == before {
		return
	}
	if err := m.save(); err != nil {
		m.Log.Warn("memory state not written", "err", err)
	}
}

// Set are the nodes that a container's memory comes from, in the kernel's form; "" is any.
func (m *Manager) Set(uid types.UID, container string) string {
	var all topology.Mask
	for _, b := range m.Of(uid, container) {
		all |= topology.MaskOf(b.Nodes...)
	}
	return all.String()
}

// Block is memory that a container has, or that nodes can give.
type Block struct {
	Nodes []int
	Type  core.ResourceName
	Size  uint64
}

// Of is the memory of a container.
func (m *Manager) Of(uid types.UID, container string) (out []Block) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.given[uid][container] {
		out = append(out, Block(b))
	}
	return out
}

// Allocatable is what the nodes have for pods.
func (m *Manager) Allocatable() (out []Block) {
	for _, n := range slices.Sorted(maps.Keys(m.room)) {
		for _, t := range slices.Sorted(maps.Keys(m.room[n])) {
			out = append(out, Block{[]int{n}, t, m.room[n][t]})
		}
	}
	return out
}

// state is the form of the file.
type state struct {
	PolicyName string                           `json:"policyName"`
	Entries    map[types.UID]map[string][]block `json:"entries,omitempty"`
}

// save writes the state. m.mu is held.
func (m *Manager) save() error {
	b, err := json.Marshal(state{m.Policy, m.given})
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(m.Root, stateFile), b, 0o600)
}

// load reads the state. One without entries is started over: nobody depends on it.
func (m *Manager) load() error {
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
		for name, list := range containers {
			for _, b := range list {
				for _, n := range b.Nodes {
					if m.room[n] == nil {
						return fmt.Errorf("container %q in pod %q has memory of NUMA node %d, which is not there", name, uid, n)
					}
				}
			}
		}
	}
	m.given = s.Entries
	return nil
}
