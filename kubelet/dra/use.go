package dra

import (
	"fmt"
	"maps"
	"slices"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"proa.dev/object"
)

// use is a claim that a container uses, and for which of its requests; "" is all.
type use struct {
	podClaim string // as the pod names it; "" is that for extended resources
	claim    string
	request  string
}

// uses are the claims of one container.
func uses(pod *core.Pod, c *core.Container) (out []use, err error) {
	for i := range pod.Spec.ResourceClaims {
		one := &pod.Spec.ResourceClaims[i]
		for _, r := range c.Resources.Claims {
			if r.Name != one.Name {
				continue
			}
			name, _, err := resourceclaim.Name(pod, one)
			if err != nil {
				return nil, err
			}
			if name != nil {
				out = append(out, use{one.Name, *name, r.Request})
			}
		}
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		for _, r := range s.RequestMappings {
			if q := c.Resources.Requests[core.ResourceName(r.ResourceName)]; r.ContainerName == c.Name && !q.IsZero() {
				out = append(out, use{"", s.ResourceClaimName, r.RequestName})
			}
		}
	}
	return out, nil
}

// For says whether a device is for a request of its claim.
func (d *Device) For(request string) bool {
	return request == "" || len(d.Requests) == 0 || slices.Contains(d.Requests, resourceclaim.BaseRequestRef(request))
}

// Add names the devices of a container to the runtime.
func (m *Manager) Add(pod *core.Pod, c *core.Container, config *runtimeapi.ContainerConfig) error {
	if !Claims(pod) {
		return nil
	}
	list, err := uses(pod, c)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range list {
		p := m.claims[object.Key{Namespace: pod.Namespace, Name: u.claim}]
		if p == nil {
			return fmt.Errorf("internal error: unable to get claim info for ResourceClaim %s in namespace %s", u.claim, pod.Namespace)
		}
		for _, name := range slices.Sorted(maps.Keys(p.Drivers)) {
			for i := range p.Drivers[name] {
				d := &p.Drivers[name][i]
				if !d.For(u.request) {
					continue
				}
				for _, id := range d.CDI {
					if !slices.ContainsFunc(config.CDIDevices, func(have *runtimeapi.CDIDevice) bool { return have.GetName() == id }) {
						config.CDIDevices = append(config.CDIDevices, &runtimeapi.CDIDevice{Name: id})
					}
				}
			}
		}
	}
	return nil
}

// Used is a claim of a container with what was prepared of it, by driver.
type Used struct {
	Namespace, Name string
	Drivers         map[string][]Device
}

// Of are the claims of one container.
func (m *Manager) Of(pod *core.Pod, c *core.Container) (out []Used) {
	if !Claims(pod) {
		return nil
	}
	list, err := uses(pod, c)
	if err != nil {
		return nil // it was told when the pod was prepared
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := map[string]bool{}
	for _, u := range list {
		p := m.claims[object.Key{Namespace: pod.Namespace, Name: u.claim}]
		if p == nil || seen[u.claim] {
			continue
		}
		seen[u.claim] = true
		one := Used{Namespace: p.Namespace, Name: p.Name, Drivers: map[string][]Device{}}
		for name, devices := range p.Drivers {
			one.Drivers[name] = slices.Clone(devices)
		}
		out = append(out, one)
	}
	return out
}
