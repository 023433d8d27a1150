package devices

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	helper "k8s.io/component-helpers/resource"

	"proa.dev/client"
)

// inMemory is the name of a claim for extended resources before it is in the API: none that could be there.
const inMemory = "<extended-resources>"

// extended is the claim that stands for a pod's extended resources on one node, and which request of it is for which container.
type extended struct {
	claim    *resource.ResourceClaim
	mappings []core.ContainerExtendedResourceRequest
}

// extended are the resources of a pod that a class stands for, in order.
func (s *State) extended(pod *core.Pod) (out []core.ResourceName) {
	if len(s.classes) == 0 {
		return nil
	}
	for name, q := range helper.PodRequests(pod, helper.PodResourcesOptions{}) {
		if !q.IsZero() && extendedName(name) && s.classes[name] != nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// leftover is a claim that an earlier attempt made for the pod's extended resources.
func (a *Ask) leftover() *resource.ResourceClaim {
	if len(a.resources) == 0 {
		return nil
	}
	for _, c := range client.Owned[resource.ResourceClaim](a.state.view, a.pod) {
		if c.Annotations[resource.ExtendedResourceClaimAnnotation] == "true" && metav1.IsControlledBy(c, a.pod) {
			return c
		}
	}
	return nil
}

// extendedOn is the claim for those extended resources that the node itself does not have; nil if it has all.
func (a *Ask) extendedOn(node *core.Node) *extended {
	var missing []core.ResourceName
	for _, name := range a.resources {
		if q := node.Status.Allocatable[name]; q.IsZero() {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	requests, mappings := translate(a.pod, missing, func(n core.ResourceName) string { return a.state.classes[n].Name })
	return &extended{mappings: mappings, claim: &resource.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: a.pod.Namespace, Name: inMemory, GenerateName: a.pod.Name + "-extended-resources-", UID: types.UID(uuid.NewString()),
			OwnerReferences: []metav1.OwnerReference{controllerRef(a.pod)},
			Annotations:     map[string]string{resource.ExtendedResourceClaimAnnotation: "true"},
		},
		Spec: resource.ResourceClaimSpec{Devices: resource.DeviceClaim{Requests: requests}},
	}}
}

func controllerRef(pod *core.Pod) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: &yes}
}

// translate writes the extended resources of a pod as requests. A container that runs on has a request of its own; init containers that end use
// what those after them have, and share one request for what they need beyond that.
func translate(pod *core.Pod, names []core.ResourceName, class func(core.ResourceName) string) (requests []resource.DeviceRequest, mappings []core.ContainerExtendedResourceRequest) {
	containers := append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...)
	ends := func(i int) bool {
		p := containers[i].RestartPolicy
		return i < len(pod.Spec.InitContainers) && (p == nil || *p != core.ContainerRestartPolicyAlways)
	}
	for _, name := range names {
		lasting := make([]*resource.DeviceRequest, len(containers))
		var first, later []core.ContainerExtendedResourceRequest
		for i := range containers {
			if !ends(i) {
				r, m := translateOne(i, &containers[i], name, nil)
				lasting[i], first = r, append(first, m...)
			}
		}
		var shared *resource.DeviceRequest
		own := map[string]bool{}
		for i := range containers {
			if !ends(i) {
				continue
			}
			r, m := translateOne(i, &containers[i], name, lasting[i:])
			later = append(later, m...)
			if r == nil {
				continue
			}
			own[r.Name] = true
			if shared == nil || shared.Exactly.Count < r.Exactly.Count {
				shared = r
			}
		}
		for i := range later {
			if own[later[i].RequestName] {
				later[i].RequestName = shared.Name
			}
		}
		for _, r := range append(lasting, shared) {
			if r != nil {
				r.Exactly.DeviceClassName = class(name)
				requests = append(requests, *r)
			}
		}
		mappings = append(mappings, append(first, later...)...)
	}
	slices.SortFunc(requests, func(a, b resource.DeviceRequest) int { return cmp.Compare(a.Name, b.Name) })
	return requests, mappings
}

// translateOne is the request of one container for one resource, beyond what it can use of others; nil if that is all.
func translateOne(i int, c *core.Container, name core.ResourceName, usable []*resource.DeviceRequest) (*resource.DeviceRequest, []core.ContainerExtendedResourceRequest) {
	q := c.Resources.Requests[name]
	want := q.Value()
	if want == 0 {
		return nil, nil
	}
	var mappings []core.ContainerExtendedResourceRequest
	use := func(request string) {
		mappings = append(mappings, core.ContainerExtendedResourceRequest{ContainerName: c.Name, ResourceName: string(name), RequestName: request})
	}
	for _, r := range usable {
		if r == nil {
			continue
		}
		use(r.Name)
		if want -= r.Exactly.Count; want <= 0 {
			return nil, mappings
		}
	}
	n := slices.Index(slices.Sorted(maps.Keys(c.Resources.Requests)), name)
	r := &resource.DeviceRequest{
		Name:    fmt.Sprintf("container-%d-request-%d", i, n),
		Exactly: &resource.ExactDeviceRequest{AllocationMode: resource.DeviceAllocationModeExactCount, Count: want},
	}
	use(r.Name)
	return r, mappings
}
