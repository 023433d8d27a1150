package discovery

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"proa.dev/kinds"
	"proa.dev/object"
)

// order is the order in which Kubernetes shows its groups: clients try the kinds of earlier ones first. Groups that are not
// named follow by name.
var order = []string{
	"", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
	"certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
	"admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io",
	"discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io",
}

// group is one API group, its preferred version first.
type group struct {
	name     string
	versions []served
}

// served is one version of a group, its resources by name.
type served struct {
	name      string
	resources []resource
}

// resource is one kind in one version.
type resource struct {
	schema.GroupVersionKind
	name string
	kind *kinds.Kind
}

// tree sorts kinds into groups and versions.
func tree(list []*kinds.Kind) []group {
	var all []resource
	for _, k := range list {
		all = append(all, resource{k.GVK(), k.Resource.Resource, k})
		for _, o := range k.Also {
			path := kinds.ParsePath(o.Path)
			gvk := schema.GroupVersionKind{Group: path.Group, Version: path.Version, Kind: object.KindOf(o.New()).Kind}
			all = append(all, resource{gvk, path.Resource, k})
		}
	}
	slices.SortStableFunc(all, func(a, b resource) int {
		return cmp.Or(
			cmp.Compare(rank(a.Group), rank(b.Group)), cmp.Compare(a.Group, b.Group),
			-version.CompareKubeAwareVersionStrings(a.Version, b.Version), cmp.Compare(a.name, b.name),
		)
	})
	var out []group
	for _, r := range all {
		if len(out) == 0 || out[len(out)-1].name != r.Group {
			out = append(out, group{name: r.Group})
		}
		g := &out[len(out)-1]
		if len(g.versions) == 0 || g.versions[len(g.versions)-1].name != r.Version {
			g.versions = append(g.versions, served{name: r.Version})
		}
		v := &g.versions[len(g.versions)-1]
		v.resources = append(v.resources, r)
	}
	return out
}

func rank(group string) int {
	if i := slices.Index(order, group); i >= 0 {
		return i
	}
	return len(order)
}

func find(groups []group, name string) (group, bool) {
	for _, g := range groups {
		if g.name == name {
			return g, true
		}
	}
	return group{}, false
}

// named leaves the core group out, which has a path of its own.
func named(groups []group) []group {
	return slices.DeleteFunc(slices.Clone(groups), func(g group) bool { return g.name == "" })
}
