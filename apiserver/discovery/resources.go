package discovery

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/kinds"
)

// sub is one subresource, with the kind of its body.
type sub struct {
	name  string
	kind  schema.GroupVersionKind
	other bool // the kind is of another group or version
	verbs []string
}

var editVerbs = []string{"get", "patch", "update"}

// subresources are those of r by name: the ones its kind lists and those that follow from its flags.
func subresources(r resource) []sub {
	var out []sub
	if r.kind.Status {
		out = append(out, sub{name: "status", kind: r.GroupVersionKind, verbs: editVerbs})
	}
	if r.kind.Scale != nil {
		out = append(out, sub{name: "scale", kind: gvk("autoscaling/v1/Scale"), other: true, verbs: editVerbs})
	}
	for _, s := range r.kind.Subs {
		k := gvk(s.GVK)
		out = append(out, sub{name: s.Name, kind: k, other: k.GroupVersion() != r.GroupVersion(), verbs: s.Verbs})
	}
	if r.kind.Custom == nil {
		slices.SortFunc(out, func(a, b sub) int { return cmp.Compare(a.name, b.name) })
	}
	return out
}

// gvk reads "v1/Pod" and "policy/v1/Eviction".
func gvk(s string) schema.GroupVersionKind {
	i := strings.LastIndexByte(s, '/')
	gv, err := schema.ParseGroupVersion(s[:max(i, 0)])
	if err != nil { // a mistake in a Def, found by the golden test
		panic(err)
	}
	return gv.WithKind(s[i+1:])
}

// resources is the older form, in which subresources stand beside their resource.
func resources(v served) []metav1.APIResource {
	out := []metav1.APIResource{}
	for _, r := range v.resources {
		res := metav1.APIResource{
			Name: r.name, SingularName: r.kind.Singular, Namespaced: r.kind.Namespaced, Kind: r.Kind,
			Verbs: verbs(r.kind), ShortNames: r.kind.Short, Categories: r.kind.Categories,
		}
		if !r.kind.Virtual {
			res.StorageVersionHash = storageHash(r.kind)
		}
		out = append(out, res)
		for _, s := range subresources(r) {
			res := metav1.APIResource{Name: r.name + "/" + s.name, Namespaced: r.kind.Namespaced, Kind: s.kind.Kind, Verbs: sorted(s.verbs)}
			if s.other {
				res.Group, res.Version = s.kind.Group, s.kind.Version
			}
			out = append(out, res)
		}
	}
	return out
}

// storageHash tells clients whether the stored version of a kind has changed since they looked.
func storageHash(k *kinds.Kind) string {
	if k.Custom != nil {
		k = k.Custom.Stored
	}
	sum := sha256.Sum256([]byte(k.Group + "/" + k.Version + "/" + k.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

// aggregate is the newer form.
func aggregate(groups ...group) []apidiscovery.APIGroupDiscovery {
	out := []apidiscovery.APIGroupDiscovery{}
	for _, g := range groups {
		if len(g.versions) == 0 {
			continue
		}
		d := apidiscovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
		for _, v := range g.versions {
			if v.remote != nil {
				d.Versions = append(d.Versions, v.remote.shown())
				continue
			}
			d.Versions = append(d.Versions, apidiscovery.APIVersionDiscovery{
				Version: v.name, Freshness: apidiscovery.DiscoveryFreshnessCurrent, Resources: aggregateResources(v),
			})
		}
		out = append(out, d)
	}
	return out
}

func aggregateResources(v served) []apidiscovery.APIResourceDiscovery {
	var out []apidiscovery.APIResourceDiscovery
	for _, r := range v.resources {
		d := apidiscovery.APIResourceDiscovery{
			Resource: r.name, SingularResource: r.kind.Singular, Scope: apidiscovery.ScopeCluster,
			ResponseKind: &metav1.GroupVersionKind{Kind: r.Kind}, // group and version are those it stands under
			Verbs:        verbs(r.kind), ShortNames: r.kind.Short, Categories: r.kind.Categories,
		}
		if r.kind.Namespaced {
			d.Scope = apidiscovery.ScopeNamespace
		}
		for _, s := range subresources(r) {
			kind := &metav1.GroupVersionKind{Kind: s.kind.Kind}
			if s.other {
				kind.Group, kind.Version = s.kind.Group, s.kind.Version
			}
			d.Subresources = append(d.Subresources,
				apidiscovery.APISubresourceDiscovery{Subresource: s.name, ResponseKind: kind, Verbs: sorted(s.verbs)})
		}
		out = append(out, d)
	}
	return out
}

// verbs are those of a kind, in the order in which Kubernetes shows them.
func verbs(k *kinds.Kind) []string {
	if k.Custom != nil {
		return []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
	}
	return sorted(k.Verbs)
}

func sorted(verbs []string) []string { return slices.Sorted(slices.Values(verbs)) }
