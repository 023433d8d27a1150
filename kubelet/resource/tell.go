package resource

import (
	"maps"
	"slices"

	core "k8s.io/api/core/v1"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/utils/cpuset"

	"proa.dev/kubelet/device"
	"proa.dev/kubelet/dra"
	"proa.dev/kubelet/memory"
)

// Active are the pods of the node that are not over. It implements podresources.Source, as do Has and Allocatable.
func (m *Manager) Active() []*core.Pod {
	m.mu.Lock()
	h := m.host
	m.mu.Unlock()
	if h == nil {
		return nil
	}
	return slices.DeleteFunc(h.Pods(), func(p *core.Pod) bool {
		return p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed
	})
}

// Has is what one container has.
func (m *Manager) Has(p *core.Pod, c *core.Container) *api.ContainerResources {
	return &api.ContainerResources{
		Name: c.Name, Devices: tellDevices(m.devices.Of(p.UID, c.Name)), CpuIds: tellCPUs(m.cpus.Own(p.UID, c.Name)),
		Memory: tellMemory(m.memory.Of(p.UID, c.Name)), DynamicResources: tellClaims(m.claims.Of(p, c)),
	}
}

// Allocatable is what there is for containers in all.
func (m *Manager) Allocatable() *api.AllocatableResourcesResponse {
	return &api.AllocatableResourcesResponse{
		Devices: tellDevices(m.devices.Healthy()), CpuIds: tellCPUs(m.cpus.Allocatable()), Memory: tellMemory(m.memory.Allocatable()),
	}
}

// tellDevices names each device by itself, once for each node that it is on, as clients of the API know it.
func tellDevices(groups []device.Group) (out []*api.ContainerDevices) {
	for _, g := range groups {
		for _, id := range g.IDs {
			if len(g.Nodes) == 0 {
				out = append(out, &api.ContainerDevices{ResourceName: g.Resource, DeviceIds: []string{id}})
			}
			for _, n := range g.Nodes {
				out = append(out, &api.ContainerDevices{
					ResourceName: g.Resource, DeviceIds: []string{id}, Topology: &api.TopologyInfo{Nodes: []*api.NUMANode{{ID: n}}},
				})
			}
		}
	}
	return out
}

func tellCPUs(set cpuset.CPUSet) (out []int64) {
	for _, n := range set.List() {
		out = append(out, int64(n))
	}
	return out
}

func tellMemory(list []memory.Block) (out []*api.ContainerMemory) {
	for _, b := range list {
		one := &api.ContainerMemory{MemoryType: string(b.Type), Size: b.Size, Topology: &api.TopologyInfo{}}
		for _, n := range b.Nodes {
			one.Topology.Nodes = append(one.Topology.Nodes, &api.NUMANode{ID: int64(n)})
		}
		out = append(out, one)
	}
	return out
}

func tellClaims(list []dra.Used) (out []*api.DynamicResource) {
	for _, u := range list {
		one := &api.DynamicResource{ClaimName: u.Name, ClaimNamespace: u.Namespace}
		for _, name := range slices.Sorted(maps.Keys(u.Drivers)) {
			for _, d := range u.Drivers[name] {
				r := &api.ClaimResource{DriverName: name, PoolName: d.Pool, DeviceName: d.Name, ShareId: (*string)(d.Share)}
				for _, id := range d.CDI {
					r.CdiDevices = append(r.CdiDevices, &api.CDIDevice{Name: id})
				}
				one.ClaimResources = append(one.ClaimResources, r)
			}
		}
		out = append(out, one)
	}
	return out
}
