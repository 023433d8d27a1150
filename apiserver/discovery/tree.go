package discovery

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"proa.dev/kinds"
	"proa.dev/object"
)

// group is one API group, its preferred version first.
type group struct {
	name     string
	priority int32
	versions []served
}

// served is one version of a group, its resources by name.
type served struct {
	name      string
	priority  int32
	resources []resource
	remote    *Remote // another server serves it; nil: this one
}

// resource is one kind in one version.
type resource struct {
	schema.GroupVersionKind
	name string
	kind *kinds.Kind
}

// tree sorts kinds, and what others serve, into groups and versions.
func tree(list []*kinds.Kind, remotes []Remote) []group {
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
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.name, b.name))
	})
	var out []group
	for _, r := range all {
		gv := r.GroupVersion()
		p, _ := PriorityOf(gv)
		v := place(&out, gv, p)
		v.resources = append(v.resources, r)
	}
	for i := range remotes {
		v := place(&out, remotes[i].GroupVersion, remotes[i].Priority)
		v.resources, v.remote = nil, &remotes[i]
	}
	for _, g := range out {
		slices.SortStableFunc(g.versions, func(a, b served) int {
			return cmp.Or(cmp.Compare(b.priority, a.priority), -version.CompareKubeAwareVersionStrings(a.name, b.name))
		})
	}
	slices.SortStableFunc(out, func(a, b group) int { return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.name, b.name)) })
	return out
}

// place is the version gv in groups, which is added if it is not there. The priority of a group is the highest of its versions'.
func place(groups *[]group, gv schema.GroupVersion, p Priority) *served {
	i := slices.IndexFunc(*groups, func(g group) bool { return g.name == gv.Group })
	if i < 0 {
		i = len(*groups)
		*groups = append(*groups, group{name: gv.Group})
	}
	g := &(*groups)[i]
	g.priority = max(g.priority, p.Group)
	j := slices.IndexFunc(g.versions, func(v served) bool { return v.name == gv.Version })
	if j < 0 {
		j = len(g.versions)
		g.versions = append(g.versions, served{name: gv.Version})
	}
	g.versions[j].priority = p.Version
	return &g.versions[j]
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
