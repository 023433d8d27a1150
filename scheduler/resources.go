package scheduler

import (
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helper "k8s.io/component-helpers/resource"
)

// What a container that asks for nothing is taken to use when nodes are compared, so that such pods spread, too.
const (
	assumedCPU    = 100       // millicores
	assumedMemory = 200 << 20 // bytes
)

// resources are amounts: CPU in millicores, the rest in bytes or pieces.
type resources struct {
	cpu, memory, ephemeral  int64
	likelyCPU, likelyMemory int64            // with the assumed amounts for containers without requests
	scalar                  map[string]int64 // extended resources and huge pages; nil if there are none
}

func (r *resources) add(o *resources, sign int64) {
	r.cpu += sign * o.cpu
	r.memory += sign * o.memory
	r.ephemeral += sign * o.ephemeral
	r.likelyCPU += sign * o.likelyCPU
	r.likelyMemory += sign * o.likelyMemory
	for k, v := range o.scalar {
		if r.scalar == nil {
			r.scalar = map[string]int64{}
		}
		r.scalar[k] += sign * v
	}
}

func fromList(l core.ResourceList) resources {
	var r resources
	for name, q := range l {
		switch name {
		case core.ResourceCPU:
			r.cpu = q.MilliValue()
		case core.ResourceMemory:
			r.memory = q.Value()
		case core.ResourceEphemeralStorage:
			r.ephemeral = q.Value()
		case core.ResourcePods:
		default:
			if r.scalar == nil {
				r.scalar = map[string]int64{}
			}
			r.scalar[string(name)] = q.Value()
		}
	}
	return r
}

// requests is what a pod reserves: the greater of its containers together and its init containers in turn (sidecars count all
// along), plus the overhead of its runtime class.
func requests(pod *core.Pod) resources {
	r := fromList(helper.PodRequests(pod, helper.PodResourcesOptions{UseStatusResources: true}))
	likely := fromList(helper.PodRequests(pod, helper.PodResourcesOptions{
		UseStatusResources: true,
		NonMissingContainerRequests: core.ResourceList{
			core.ResourceCPU:    *resource.NewMilliQuantity(assumedCPU, resource.DecimalSI),
			core.ResourceMemory: *resource.NewQuantity(assumedMemory, resource.BinarySI),
		},
	}))
	r.likelyCPU, r.likelyMemory = likely.cpu, likely.memory
	return r
}
