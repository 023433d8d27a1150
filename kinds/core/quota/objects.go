package quota

import (
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"proa.dev/object"
)

func ofServices(n core.ResourceName) bool {
	return n == core.ResourceServicesNodePorts || n == core.ResourceServicesLoadBalancers
}

// serviceUsage counts the node ports that a service will get, for it has not got them yet.
func serviceUsage(o object.Object, _ time.Time) core.ResourceList {
	s := o.(*core.Service)
	ports, balancers := 0, 0
	switch s.Spec.Type {
	case core.ServiceTypeNodePort:
		ports = len(s.Spec.Ports)
	case core.ServiceTypeLoadBalancer:
		balancers = 1
		if a := s.Spec.AllocateLoadBalancerNodePorts; a == nil || *a {
			ports = len(s.Spec.Ports)
			break
		}
		for _, p := range s.Spec.Ports {
			if p.NodePort != 0 {
				ports++
			}
		}
	}
	return core.ResourceList{core.ResourceServices: one(), core.ResourceServicesNodePorts: number(ports), core.ResourceServicesLoadBalancers: number(balancers)}
}

// ofClass stands between a storage class and what is counted of it: "gold.storageclass.storage.k8s.io/requests.storage".
const ofClass = ".storageclass.storage.k8s.io/"

func ofClaims(n core.ResourceName) bool {
	return n == core.ResourceRequestsStorage || strings.HasSuffix(string(n), ofClass+string(core.ResourceRequestsStorage)) ||
		strings.HasSuffix(string(n), ofClass+string(core.ResourcePersistentVolumeClaims))
}

// claimUsage counts what a claim requests, or what has been given for it where that is more: a request may have been lowered after an
// expansion that failed. Quotas count whole bytes.
func claimUsage(o object.Object, _ time.Time) core.ResourceList {
	c := o.(*core.PersistentVolumeClaim)
	class := ""
	if c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	if a, ok := c.Annotations[core.BetaStorageClassAnnotation]; ok {
		class = a
	}
	out := core.ResourceList{core.ResourcePersistentVolumeClaims: one()}
	q, ok := c.Spec.Resources.Requests[core.ResourceStorage]
	if given, has := c.Status.AllocatedResources[core.ResourceStorage]; ok && has && given.Cmp(q) > 0 {
		q = given
	}
	if ok {
		q = q.DeepCopy()
		q.RoundUp(0)
		out[core.ResourceRequestsStorage] = q
	}
	if class != "" {
		for n, q := range out {
			out[core.ResourceName(class)+ofClass+n] = q
		}
	}
	return out
}

// claimHandles: the status says what has been given, and the class of volume attributes by which scopes select.
func claimHandles(ch Change) bool {
	if ch.Sub != "status" {
		return ch.Sub == ""
	}
	now, old := ch.Now.(*core.PersistentVolumeClaim), ch.Old.(*core.PersistentVolumeClaim)
	if now.Status.AllocatedResources.Storage().Cmp(*old.Status.AllocatedResources.Storage()) != 0 {
		return true
	}
	a, b := attributeClasses(now), attributeClasses(old)
	for n := range a {
		if !b[n] {
			return true
		}
	}
	return len(a) != len(b)
}

func claimInScope(s core.ScopedResourceSelectorRequirement, o object.Object) bool {
	if s.ScopeName != core.ResourceQuotaScopeVolumeAttributesClass {
		return false
	}
	classes := attributeClasses(o.(*core.PersistentVolumeClaim))
	for n := range classes {
		if selects(s, n) {
			return true
		}
	}
	return len(classes) == 0 && selects(s, "")
}

// attributeClasses are the classes of volume attributes that a claim has, had, or is getting.
func attributeClasses(c *core.PersistentVolumeClaim) map[string]bool {
	out := map[string]bool{}
	for _, n := range []*string{c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName} {
		if n != nil && *n != "" {
			out[*n] = true
		}
	}
	if m := c.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
		out[m.TargetVolumeAttributesClassName] = true
	}
	return out
}

func ofDeviceClaims(n core.ResourceName) bool {
	return strings.HasSuffix(string(n), core.ResourceClaimsPerClass)
}

// deviceClaimUsage counts, per device class, the devices that a claim may get at most.
func deviceClaimUsage(o object.Object, _ time.Time) core.ResourceList {
	c, ok := o.(*resourceapi.ResourceClaim)
	out := core.ResourceList{}
	if !ok {
		return out
	}
	for _, r := range c.Spec.Devices.Requests {
		most := map[string]int64{}
		for _, s := range r.FirstAvailable {
			most[s.DeviceClassName] = max(most[s.DeviceClassName], devices(s.AllocationMode, s.Count))
		}
		if r.Exactly != nil && len(r.FirstAvailable) == 0 {
			most[r.Exactly.DeviceClassName] = devices(r.Exactly.AllocationMode, r.Exactly.Count)
		}
		for class, n := range most {
			name := core.ResourceName(class + core.ResourceClaimsPerClass)
			q := out[name]
			q.Add(*resource.NewQuantity(n, resource.DecimalSI))
			out[name] = q
		}
	}
	return out
}

func devices(m resourceapi.DeviceAllocationMode, n int64) int64 {
	switch m {
	case resourceapi.DeviceAllocationModeExactCount:
		return n
	case resourceapi.DeviceAllocationModeAll:
		return resourceapi.AllocationResultsMaxSize
	}
	return 0
}
