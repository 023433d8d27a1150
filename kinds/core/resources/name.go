package resources

import (
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podresource "k8s.io/component-helpers/resource"

	"proa.dev/kinds/check"
)

// Name checks the name of any resource.
func Name(e *check.Errors, p *field.Path, n core.ResourceName) bool {
	msgs := utilvalidation.IsQualifiedName(string(n))
	e.Invalids(p, n, msgs)
	if len(msgs) == 0 && !strings.Contains(string(n), "/") && !standard(n) {
		e.Invalid(p, n, "must be a standard resource type or fully qualified")
		return false
	}
	return len(msgs) == 0
}

// OfContainer checks the name of a resource that a container requests.
func OfContainer(e *check.Errors, p *field.Path, n core.ResourceName) {
	Name(e, p, n)
	switch {
	case !strings.Contains(string(n), "/"):
		if n != core.ResourceCPU && n != core.ResourceMemory && n != core.ResourceEphemeralStorage && !HugePages(n) {
			e.Invalid(p, n, "must be a standard resource for containers")
		}
	case !Native(n) && !Extended(n):
		e.Invalid(p, n, "doesn't follow extended resource name standard")
	}
}

// OfPod checks the name of a resource that a pod requests as a whole.
func OfPod(e *check.Errors, p *field.Path, n core.ResourceName) {
	if Name(e, p, n) && !podresource.IsSupportedPodLevelResource(n) {
		all := podresource.SupportedPodLevelResources().UnsortedList()
		slices.Sort(all)
		e.Add(field.NotSupported(p, n, all))
	}
}

// OfQuota checks the name of a resource that a quota limits.
func OfQuota(e *check.Errors, p *field.Path, n core.ResourceName) {
	Name(e, p, n)
	if !strings.Contains(string(n), "/") && !StandardOfQuota(n) {
		e.Invalid(p, n, "must be a standard resource for quota")
	}
}

// HugePages says that a resource is memory in large pages of some size.
func HugePages(n core.ResourceName) bool {
	return strings.HasPrefix(string(n), core.ResourceHugePagesPrefix)
}

// Native says that a resource is one of Kubernetes' own.
func Native(n core.ResourceName) bool {
	return !strings.Contains(string(n), "/") || strings.Contains(string(n), core.ResourceDefaultNamespacePrefix)
}

// Extended says that a resource is one that devices or administrators bring.
func Extended(n core.ResourceName) bool {
	return !Native(n) && !strings.HasPrefix(string(n), core.DefaultResourceRequestsPrefix) &&
		len(utilvalidation.IsQualifiedName(core.DefaultResourceRequestsPrefix+string(n))) == 0
}

// Overcommit says that more of a resource may be limited than is requested.
func Overcommit(n core.ResourceName) bool { return Native(n) && !HugePages(n) }

// counted says that a resource is a number of objects.
func counted(n core.ResourceName) bool {
	switch n {
	case core.ResourcePods, core.ResourceServices, core.ResourceReplicationControllers, core.ResourceQuotas, core.ResourceSecrets,
		core.ResourceConfigMaps, core.ResourcePersistentVolumeClaims, core.ResourceServicesNodePorts, core.ResourceServicesLoadBalancers:
		return true
	}
	return false
}

// StandardOfQuota says that a quota knows a resource by itself.
func StandardOfQuota(n core.ResourceName) bool {
	switch n {
	case core.ResourceCPU, core.ResourceMemory, core.ResourceEphemeralStorage, core.ResourceRequestsCPU, core.ResourceRequestsMemory,
		core.ResourceRequestsEphemeralStorage, core.ResourceLimitsCPU, core.ResourceLimitsMemory, core.ResourceLimitsEphemeralStorage,
		core.ResourceRequestsStorage:
		return true
	}
	return counted(n) || HugePages(n) || strings.HasPrefix(string(n), core.ResourceRequestsHugePagesPrefix)
}

func standard(n core.ResourceName) bool { return n == core.ResourceStorage || StandardOfQuota(n) }
