package aggregate

import (
	"slices"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/object"
)

// Resources are those that others serve and whose objects can be listed, watched and deleted, one version each. unknown are the
// versions whose servers cannot be asked now.
func (a *Aggregator) Resources() (list []object.Resource, unknown []schema.GroupVersion) {
	best := map[schema.GroupResource]object.Resource{}
	priority := map[schema.GroupResource]int32{}
	for gv, b := range a.backends() {
		k := b.known.Load()
		if k == nil || k.stale {
			unknown = append(unknown, gv)
			continue
		}
		p := b.service.Load().Spec.VersionPriority
		for i := range k.resources {
			r, ok := collectable(gv, &k.resources[i])
			if !ok {
				continue
			}
			gr := r.GroupResource()
			have, seen := best[gr]
			if !seen || p > priority[gr] || p == priority[gr] && r.Version < have.Version {
				best[gr], priority[gr] = r, p
			}
		}
	}
	for _, r := range best {
		list = append(list, r)
	}
	return list, unknown
}

// collectable is a resource as others know it, if it has what the end of its objects needs.
func collectable(gv schema.GroupVersion, d *apidiscovery.APIResourceDiscovery) (object.Resource, bool) {
	for _, verb := range []string{"list", "watch", "delete"} {
		if !slices.Contains(d.Verbs, verb) {
			return object.Resource{}, false
		}
	}
	if d.ResponseKind == nil {
		return object.Resource{}, false
	}
	return object.Resource{
		GroupVersionResource: gv.WithResource(d.Resource), Kind: d.ResponseKind.Kind, Namespaced: d.Scope == apidiscovery.ScopeNamespace,
	}, true
}

// Changed is closed when Resources has something else to say. Take it before Resources.
func (a *Aggregator) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

func (a *Aggregator) announce() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
}
