package process

import (
	"fmt"

	core "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/cpuset"

	"proa.dev/config"
	"proa.dev/kubelet/evict"
	machine "proa.dev/kubelet/node"
	"proa.dev/kubelet/resource"
	"proa.dev/kubelet/topology"
)

func (n *node) newResources(reserved core.ResourceList) (*resource.Manager, error) {
	machine, err := topology.Read("/sys")
	if err != nil {
		return nil, err
	}
	policies, err := policiesOf(n.deps.config.Kubelet, reserved)
	if err != nil {
		return nil, err
	}
	if policies.KeptMemory, err = keptMemory(n.deps.config.Kubelet, reserved); err != nil {
		return nil, err
	}
	return resource.New(resource.Config{
		Client: n.deps.client, Node: n.deps.config.Node, Root: n.deps.config.KubeletDir, Plugins: n.plugins, Machine: machine, Log: n.deps.log,
		Policies: policies,
	})
}

// policiesOf are the policies of the configuration. reserved is what pods do not get.
func policiesOf(c config.Kubelet, reserved core.ResourceList) (resource.Policies, error) {
	p := resource.Policies{
		CPU: c.CPUManagerPolicy, CPUOptions: c.CPUManagerPolicyOptions, Memory: c.MemoryManagerPolicy,
		Topology: c.TopologyManagerPolicy, TopologyScope: c.TopologyManagerScope, TopologyOptions: c.TopologyManagerPolicyOptions,
	}
	var err error
	if p.ReservedCPUs, err = reservedCPUs(c); err != nil {
		return p, err
	}
	if p.ReservedCPUs.IsEmpty() {
		cpu := reserved[core.ResourceCPU]
		p.ReservedCount = int(cpu.Value()) // rounded up
	}
	for _, r := range c.ReservedMemory {
		list := p.ReservedMemory[r.NUMANode]
		if list == nil {
			list = core.ResourceList{}
		}
		for name, text := range r.Limits {
			q, err := quantity.ParseQuantity(text)
			if err != nil {
				return p, fmt.Errorf("kubelet.reservedMemory: %s of NUMA node %d: %w", name, r.NUMANode, err)
			}
			list[core.ResourceName(name)] = q
		}
		if p.ReservedMemory == nil {
			p.ReservedMemory = map[int]core.ResourceList{}
		}
		p.ReservedMemory[r.NUMANode] = list
	}
	return p, nil
}

// keptMemory is the memory that pods do not get: what is reserved, and what eviction keeps free.
func keptMemory(c config.Kubelet, reserved core.ResourceList) (quantity.Quantity, error) {
	machine, err := machine.Look("/", 0)
	if err != nil {
		return quantity.Quantity{}, err
	}
	list, err := evict.Kept(evictionOf(c), machine.Memory, 0)
	sum := list[core.ResourceMemory]
	sum.Add(reserved[core.ResourceMemory])
	return sum, err
}

func reservedCPUs(c config.Kubelet) (cpuset.CPUSet, error) {
	set, err := topology.ParseSet(c.ReservedSystemCPUs)
	if err != nil {
		return set, fmt.Errorf("kubelet.reservedSystemCPUs: %w", err)
	}
	return set, nil
}
