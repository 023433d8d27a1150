package discovery

import (
	apidiscovery "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Remote is a group version that another server answers for, as it is to be shown.
type Remote struct {
	schema.GroupVersion
	Priority  Priority
	Resources []apidiscovery.APIResourceDiscovery // in the newer form; the older one is asked of the other server itself
	Stale     bool                                // what it serves may be something else by now
}

// Priority is where a group version stands among others: higher is earlier. Clients try the kinds of earlier groups first.
type Priority struct{ Group, Version int32 }

// custom is the priority of versions of custom resources.
var custom = Priority{1000, 100}

// builtin are Kubernetes' priorities of its own groups. The group of APIServices comes before all that can be registered.
var builtin = map[string]int32{
	"": 18000, "apiregistration.k8s.io": 20001, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700,
	"authorization.k8s.io": 17600, "autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200,
	"policy": 17100, "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "admissionregistration.k8s.io": 16700,
	"apiextensions.k8s.io": 16700, "scheduling.k8s.io": 16600, "coordination.k8s.io": 16500, "node.k8s.io": 16300,
	"discovery.k8s.io": 16200, "resource.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100,
}

// PriorityOf is the priority of a version that this server answers itself, and whether its group is built in.
func PriorityOf(gv schema.GroupVersion) (p Priority, isBuiltin bool) {
	if p, ok := optional[gv.Group]; ok {
		return p, true
	}
	group, ok := builtin[gv.Group]
	if !ok {
		return custom, false
	}
	switch {
	case gv.Group == "":
		return Priority{group, 1}, true
	case gv.Group == "autoscaling" && gv.Version == "v2":
		return Priority{group, 30}, true
	case gv.Group == "resource.k8s.io" || gv.Group == "flowcontrol.apiserver.k8s.io":
		return Priority{group, 21}, true
	}
	return Priority{group, 15}, true
}

// shown is the version as the newer form has it.
func (r *Remote) shown() apidiscovery.APIVersionDiscovery {
	v := apidiscovery.APIVersionDiscovery{Version: r.Version, Freshness: apidiscovery.DiscoveryFreshnessCurrent, Resources: r.Resources}
	if r.Stale {
		v.Freshness = apidiscovery.DiscoveryFreshnessStale
	}
	return v
}

// optional are groups that this server answers and that users may have another server answer.
var optional = map[string]Priority{"metrics.k8s.io": {100, 100}}

// Optional says whether somebody else may be put in our place for a group.
func Optional(group string) bool {
	_, ok := optional[group]
	return ok
}

func isBuiltin(group string) bool {
	_, ok := builtin[group]
	return ok
}
