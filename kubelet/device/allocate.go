package device

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"proa.dev/kubelet/topology"
)

// callTimeout bounds a call of a plugin that has none by its protocol: a pod waits for it.
const callTimeout = 2 * time.Minute

// Allocate gives a container the devices that it asks for, near the nodes of the hint. Containers of a pod have to come in the order init
// containers, then the others: what an init container had goes to those after it. Errors are worded as users know them.
func (m *Manager) Allocate(ctx context.Context, pod *core.Pod, c *core.Container, hint topology.Hint) error {
	m.allocating.Lock()
	defer m.allocating.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.Resources.Limits)) {
		q := c.Resources.Limits[name]
		if claimed(pod, c.Name, name) || !m.Handles(name) || q.IsZero() {
			continue
		}
		if err := m.allocate(ctx, pod, request{pod.UID, c.Name, string(name), int(q.Value())}, hint); err != nil {
			return err
		}
	}
	return nil
}

// claimed says whether a resource comes from a claim (DRA) instead.
func claimed(pod *core.Pod, container string, name core.ResourceName) bool {
	s := pod.Status.ExtendedResourceClaimStatus
	return s != nil && slices.ContainsFunc(s.RequestMappings, func(m core.ContainerExtendedResourceRequest) bool {
		return m.ContainerName == container && m.ResourceName == string(name)
	})
}

// request is so many devices for one container.
type request struct {
	pod       types.UID
	container string
	resource  string
	n         int
}

func (m *Manager) allocate(ctx context.Context, pod *core.Pod, r request, hint topology.Hint) error {
	ids, plugin, err := m.choose(ctx, pod, r, hint)
	if err != nil || len(ids) == 0 {
		return err
	}
	if plugin == nil {
		return fmt.Errorf("unknown Device Plugin %s", r.resource)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	began := time.Now()
	resp, err := plugin.client.Allocate(ctx, &api.AllocateRequest{ContainerRequests: []*api.ContainerAllocateRequest{{DevicesIds: ids}}})
	m.counts.asked(r.resource, began)
	if err != nil {
		return err
	}
	if len(resp.GetContainerResponses()) == 0 {
		return fmt.Errorf("no containers return in allocation response %v", resp)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	g := &grant{ids: ids, nodes: map[int64][]string{}, resp: resp.GetContainerResponses()[0]}
	for _, id := range ids {
		on := []int64{-1}
		if a := m.resources[r.resource]; a != nil && len(nodesOf(a.devices[id])) > 0 {
			on = nodesOf(a.devices[id])
		}
		for _, n := range on {
			g.nodes[n] = append(g.nodes[n], id)
		}
	}
	if m.given[r.pod] == nil {
		m.given[r.pod] = map[string]map[string]*grant{}
	}
	if m.given[r.pod][r.container] == nil {
		m.given[r.pod][r.container] = map[string]*grant{}
	}
	m.given[r.pod][r.container][r.resource] = g
	return m.save()
}

// choose picks the devices; none if the container has them already. It lets go of the lock only to ask the plugin.
func (m *Manager) choose(ctx context.Context, pod *core.Pod, r request, hint topology.Hint) ([]string, *conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	needed := r.n
	var have []string
	if g := m.given[r.pod][r.container][r.resource]; g != nil {
		have = g.ids
		if needed -= len(have); needed != 0 {
			return nil, nil, fmt.Errorf("pod %q container %q changed request for resource %q from %d to %d", r.pod, r.container, r.resource, len(have), r.n)
		}
	}
	a := m.resources[r.resource]
	if a == nil {
		return nil, nil, fmt.Errorf("cannot allocate unregistered device %s", r.resource)
	}
	healthy := a.healthy()
	if len(healthy) == 0 {
		return nil, nil, fmt.Errorf("no healthy devices present; cannot allocate unhealthy devices %s", r.resource)
	}
	if slices.ContainsFunc(have, func(id string) bool { return !healthy[id] }) {
		return nil, nil, fmt.Errorf("previously allocated devices are no longer healthy; cannot allocate unhealthy devices %s", r.resource)
	}
	if needed == 0 {
		return nil, nil, nil
	}
	plugin := a.plugin()
	p := pick{want: r.n}
	if p.take(m.reusable(pod, r.resource)) {
		return p.taken, plugin, nil
	}
	used := m.inUse(r.resource)
	var free []string
	for _, id := range slices.Sorted(maps.Keys(healthy)) {
		if !used[id] {
			free = append(free, id)
		}
	}
	if len(free) < p.left() {
		return nil, nil, fmt.Errorf("requested number of devices unavailable for %s. Requested: %d, Available: %d", r.resource, p.left(), len(free))
	}
	near, far, nowhere := a.byAffinity(free, hint)
	ask := free
	if p.left() < len(near) {
		ask = near
	} else if p.take(near) {
		return p.taken, plugin, nil
	}
	preferred, err := m.preferred(ctx, plugin, &p, ask)
	if err != nil {
		return nil, nil, err
	}
	for _, list := range [][]string{preferred, near, far, nowhere} {
		if p.take(list) {
			return p.taken, plugin, nil
		}
	}
	return nil, nil, fmt.Errorf("unexpectedly allocated less resources than required. Requested: %d, Got: %d", r.n, len(p.taken))
}

// pick collects devices until there are enough.
type pick struct {
	want  int
	taken []string
}

func (p *pick) left() int { return p.want - len(p.taken) }

func (p *pick) take(ids []string) (enough bool) {
	for _, id := range ids {
		if p.left() > 0 && !slices.Contains(p.taken, id) {
			p.taken = append(p.taken, id)
		}
	}
	return p.left() == 0
}

// preferred asks the plugin which of the devices it would take, if it cares. m.mu is held, but not during the call.
func (m *Manager) preferred(ctx context.Context, plugin *conn, p *pick, from []string) ([]string, error) {
	if plugin == nil || !plugin.options.GetGetPreferredAllocationAvailable() {
		return nil, nil
	}
	req := &api.PreferredAllocationRequest{ContainerRequests: []*api.ContainerPreferredAllocationRequest{{
		AvailableDeviceIDs: append(slices.Clone(p.taken), from...), MustIncludeDeviceIDs: slices.Clone(p.taken), AllocationSize: int32(p.want),
	}}}
	m.mu.Unlock()
	defer m.mu.Lock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := plugin.client.GetPreferredAllocation(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("device plugin GetPreferredAllocation rpc failed with err: %v", err)
	}
	if len(resp.GetContainerResponses()) == 0 {
		return nil, nil
	}
	likes := resp.GetContainerResponses()[0].GetDeviceIDs()
	return slices.DeleteFunc(slices.Clone(likes), func(id string) bool { return !slices.Contains(from, id) }), nil
}

// reusable are the devices of the pod's init containers that have ended by the time its next containers run: what sidecars and containers
// proper have is not among them. m.mu is held.
func (m *Manager) reusable(pod *core.Pod, resource string) (out []string) {
	given := m.given[pod.UID]
	taken := map[string]bool{}
	note := func(c *core.Container) {
		if g := given[c.Name][resource]; g != nil {
			for _, id := range g.ids {
				taken[id] = true
			}
		}
	}
	for i := range pod.Spec.Containers {
		note(&pod.Spec.Containers[i])
	}
	var ended []string
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == core.ContainerRestartPolicyAlways {
			note(c)
		} else if g := given[c.Name][resource]; g != nil {
			ended = append(ended, g.ids...)
		}
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ended))) {
		if !taken[id] {
			out = append(out, id)
		}
	}
	return out
}

// byAffinity sorts devices by where they are: on the hint's nodes, on others, on none. On nodes with few devices they come first.
func (a *advertised) byAffinity(ids []string, hint topology.Hint) (near, far, nowhere []string) {
	if hint.Any || hint.Nodes == 0 || !a.aligned() {
		return nil, nil, ids
	}
	on := map[int][]string{}
	for _, id := range ids {
		nodes := nodesOf(a.devices[id])
		if len(nodes) == 0 {
			nowhere = append(nowhere, id)
		}
		for _, n := range nodes {
			on[int(n)] = append(on[int(n)], id)
		}
	}
	nodes := slices.SortedFunc(maps.Keys(on), func(x, y int) int {
		if len(on[x]) != len(on[y]) {
			return len(on[x]) - len(on[y])
		}
		return x - y
	})
	add := func(list []string, node int) []string {
		for _, id := range on[node] {
			if !slices.Contains(near, id) && !slices.Contains(far, id) {
				list = append(list, id)
			}
		}
		return list
	}
	for _, n := range nodes {
		if hint.Nodes.Has(n) {
			near = add(near, n)
		}
	}
	for _, n := range nodes {
		if !hint.Nodes.Has(n) {
			far = add(far, n)
		}
	}
	return near, far, nowhere
}

// aligned says whether it matters where devices of this resource are.
func (a *advertised) aligned() bool {
	for _, d := range a.devices {
		if len(nodesOf(d)) > 0 {
			return true
		}
	}
	return false
}
