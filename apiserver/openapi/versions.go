package openapi

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/kinds"
	"proa.dev/object"
)

// version is one group and version with what it serves: one document of OpenAPI 3.
type version struct {
	schema.GroupVersion
	path      string // "api/v1" or "apis/apps/v1"
	resources []resource
	root      *root // nil: it is a version indeed
}

// resource is one kind as one version serves it.
type resource struct {
	gvk  schema.GroupVersionKind
	name string
	kind *kinds.Kind
	new  func() object.Object
}

// split sorts kinds by the version that serves them.
func split(list []*kinds.Kind) []version {
	var all []resource
	for _, k := range list {
		all = append(all, resource{k.GVK(), k.Resource.Resource, k, k.New})
		for _, o := range k.Also {
			p := kinds.ParsePath(o.Path)
			all = append(all, resource{
				schema.GroupVersionKind{Group: p.Group, Version: p.Version, Kind: object.KindOf(o.New()).Kind}, p.Resource, k, o.New,
			})
		}
	}
	slices.SortStableFunc(all, func(a, b resource) int {
		return cmp.Or(cmp.Compare(a.gvk.Group, b.gvk.Group), cmp.Compare(a.gvk.Version, b.gvk.Version), cmp.Compare(a.name, b.name))
	})
	var out []version
	for _, r := range all {
		gv := r.gvk.GroupVersion()
		if len(out) == 0 || out[len(out)-1].GroupVersion != gv {
			path := "apis/" + gv.String()
			if gv.Group == "" {
				path = "api/" + gv.Version
			}
			out = append(out, version{GroupVersion: gv, path: path})
		}
		v := &out[len(out)-1]
		v.resources = append(v.resources, r)
	}
	return append(out, roots(out)...)
}

// custom says whether all its kinds are of CustomResourceDefinitions.
func (v version) custom() bool {
	return v.root == nil && !slices.ContainsFunc(v.resources, func(r resource) bool { return r.kind.Custom == nil })
}

// title is how operations name a version: "AppsV1", "CoreV1", "RbacAuthorizationV1".
func (v version) title() string {
	group := cmp.Or(strings.TrimSuffix(v.Group, ".k8s.io"), "core")
	out := ""
	for part := range strings.SplitSeq(group, ".") {
		out += upper(part)
	}
	return out + upper(v.Version)
}

// tag groups operations by version: "apps_v1".
func (v version) tag() string {
	t := strings.TrimSuffix(v.title(), upper(v.Version))
	return strings.ToLower(t[:1]) + t[1:] + "_" + v.Version
}

func upper(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
