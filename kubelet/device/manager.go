package device

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// grace is how long a resource is still named, with nothing of it to have, after its plugin went away.
const grace = 5 * time.Minute

// Manager knows the devices of this node and who has them.
type Manager struct {
	dir     string // of the sockets and the checkpoint
	nodes   []int  // the machine's NUMA nodes
	log     *slog.Logger
	changed chan struct{}   // holds a token after the capacity has changed
	renew   func(types.UID) // the health of a pod's devices has changed

	counts     counts
	followers  sync.WaitGroup // of plugins' streams, for which Run waits
	allocating sync.Mutex     // held while a container gets its devices, calls of plugins included

	mu        sync.Mutex      // guards what follows
	life      context.Context // of Run: plugins are followed so long
	resources map[string]*advertised
	former    map[string]time.Time                       // resources that are not known any more, since when
	given     map[types.UID]map[string]map[string]*grant // by pod, container and resource
}

// advertised is one resource.
type advertised struct {
	devices map[string]*api.Device // as the plugin last told; by id
	plugins []*conn                // the last one that registered counts; none: its devices cannot be had
	stopped time.Time              // when the last plugin went
}

// grant is what one container has of one resource.
type grant struct {
	ids   []string
	nodes map[int64][]string // the same by NUMA node; -1 is none
	resp  *api.ContainerAllocateResponse
}

// New reads the checkpoint. root is the kubelet's directory; nodes are the NUMA nodes of the machine. renew hears of pods whose devices'
// health has changed; it must not block.
func New(root string, nodes []int, renew func(types.UID), log *slog.Logger) (*Manager, error) {
	m := &Manager{
		dir: filepath.Join(root, "device-plugins"), nodes: nodes, log: log, changed: make(chan struct{}, 1), renew: renew,
		life: context.Background(), resources: map[string]*advertised{}, former: map[string]time.Time{}, given: map[types.UID]map[string]map[string]*grant{},
	}
	if err := m.load(time.Now()); err != nil {
		return nil, fmt.Errorf("read who has which device: %w", err)
	}
	return m, nil
}

// Changed holds a token after the capacity may have changed.
func (m *Manager) Changed() <-chan struct{} { return m.changed }

func (m *Manager) tell() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Handles says whether a resource is a plugin's, now or when it was handed out.
func (m *Manager) Handles(name core.ResourceName) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.handles(string(name))
}

func (m *Manager) handles(name string) bool {
	if m.resources[name] != nil {
		return true
	}
	for _, containers := range m.given {
		for _, resources := range containers {
			if resources[name] != nil {
				return true
			}
		}
	}
	return false
}

// Capacity is how many devices there are of each resource, and how many of them are healthy. Of the resources in gone no plugin was seen
// for so long that they are not known any more; they are named for a while, until everybody must have heard.
func (m *Manager) Capacity(now time.Time) (capacity, allocatable core.ResourceList, gone []core.ResourceName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := false
	for _, name := range slices.Sorted(maps.Keys(m.resources)) {
		r := m.resources[name]
		if len(r.plugins) == 0 && now.Sub(r.stopped) > grace {
			m.former[name] = now
			delete(m.resources, name)
			changed = true
			continue
		}
		if capacity == nil {
			capacity, allocatable = core.ResourceList{}, core.ResourceList{}
		}
		capacity[core.ResourceName(name)] = *resource.NewQuantity(int64(len(r.devices)), resource.DecimalSI)
		allocatable[core.ResourceName(name)] = *resource.NewQuantity(int64(len(r.healthy())), resource.DecimalSI)
	}
	for _, name := range slices.Sorted(maps.Keys(m.former)) {
		if m.resources[name] != nil || now.Sub(m.former[name]) > grace {
			delete(m.former, name)
		} else {
			gone = append(gone, core.ResourceName(name))
		}
	}
	if changed {
		m.save()
	}
	return capacity, allocatable, gone
}

// healthy are the devices that can be had.
func (r *advertised) healthy() map[string]bool {
	out := map[string]bool{}
	if len(r.plugins) == 0 {
		return out
	}
	for id, d := range r.devices {
		if d.GetHealth() == api.Healthy {
			out[id] = true
		}
	}
	return out
}

// update takes the devices that a plugin tells.
func (m *Manager) update(name string, devices []*api.Device) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.resources[name]
	if r == nil {
		return
	}
	old := r.devices
	r.devices = map[string]*api.Device{}
	touched := map[types.UID]bool{}
	for _, d := range devices {
		r.devices[d.GetID()] = d
		if before := old[d.GetID()]; before == nil || before.GetHealth() != d.GetHealth() {
			if uid := m.holder(name, d.GetID()); uid != "" {
				touched[uid] = true
			}
		}
	}
	m.save()
	m.tell()
	for uid := range touched {
		m.renew(uid)
	}
}

// holder is the pod that has a device; "" is none. m.mu is held.
func (m *Manager) holder(name, id string) types.UID {
	for uid, containers := range m.given {
		for _, resources := range containers {
			if g := resources[name]; g != nil && slices.Contains(g.ids, id) {
				return uid
			}
		}
	}
	return ""
}

// inUse are the devices of a resource that pods have. m.mu is held.
func (m *Manager) inUse(name string) map[string]bool {
	out := map[string]bool{}
	for _, containers := range m.given {
		for _, resources := range containers {
			if g := resources[name]; g != nil {
				for _, id := range g.ids {
					out[id] = true
				}
			}
		}
	}
	return out
}

// Release takes back what a pod had.
func (m *Manager) Release(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.given[uid] != nil {
		delete(m.given, uid)
		m.save()
	}
}

// Keep takes back what pods had that are not live any more.
func (m *Manager) Keep(live func(types.UID) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.given)
	maps.DeleteFunc(m.given, func(uid types.UID, _ map[string]map[string]*grant) bool { return !live(uid) })
	if len(m.given) != before {
		m.save()
	}
}

// Statuses is how the devices of a container are, for its status in the API.
func (m *Manager) Statuses(uid types.UID, container string) (out []core.ResourceStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.given[uid][container])) {
		s := core.ResourceStatus{Name: core.ResourceName(name), Resources: []core.ResourceHealth{}}
		for _, id := range slices.Sorted(slices.Values(m.given[uid][container][name].ids)) {
			health := core.ResourceHealthStatusHealthy
			if r := m.resources[name]; r != nil && r.devices[id] != nil && r.devices[id].GetHealth() != api.Healthy {
				health = core.ResourceHealthStatusUnhealthy
			}
			s.Resources = append(s.Resources, core.ResourceHealth{ResourceID: core.ResourceID(id), Health: health})
		}
		out = append(out, s)
	}
	return out
}

// Group is devices of one resource, with the NUMA nodes that they are on.
type Group struct {
	Resource string
	IDs      []string
	Nodes    []int64
}

// Of are the devices of a container, in groups that share their nodes.
func (m *Manager) Of(uid types.UID, container string) (out []Group) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.given[uid][container])) {
		g := m.given[uid][container][name]
		nodes := map[string][]int64{}
		for node, ids := range g.nodes {
			for _, id := range ids {
				if node >= 0 {
					nodes[id] = append(nodes[id], node)
				}
			}
		}
		out = append(out, groups(name, g.ids, func(id string) []int64 { return nodes[id] })...)
	}
	return out
}

// Healthy are all devices that can be had or are in use, in the same form.
func (m *Manager) Healthy() (out []Group) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.resources)) {
		r := m.resources[name]
		out = append(out, groups(name, slices.Collect(maps.Keys(r.healthy())), func(id string) []int64 { return nodesOf(r.devices[id]) })...)
	}
	return out
}

func groups(resource string, ids []string, nodes func(id string) []int64) (out []Group) {
	for _, id := range slices.Sorted(slices.Values(ids)) {
		on := slices.Sorted(slices.Values(nodes(id)))
		i := slices.IndexFunc(out, func(g Group) bool { return slices.Equal(g.Nodes, on) })
		if i < 0 {
			i = len(out)
			out = append(out, Group{Resource: resource, Nodes: on})
		}
		out[i].IDs = append(out[i].IDs, id)
	}
	return out
}

func nodesOf(d *api.Device) (out []int64) {
	for _, n := range d.GetTopology().GetNodes() {
		out = append(out, n.GetID())
	}
	return out
}

// extended says whether a name may be that of a plugin's resource: it has a domain, which is not Kubernetes' own.
func extended(name string) bool {
	return strings.Contains(name, "/") && !strings.Contains(name, core.ResourceDefaultNamespacePrefix) &&
		!strings.HasPrefix(name, core.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(core.DefaultResourceRequestsPrefix+name)) == 0
}
