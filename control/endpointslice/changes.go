package endpointslice

import (
	"cmp"
	"maps"
	"slices"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"proa.dev/control"
)

// shows says whether two states of a pod differ in anything that endpoints tell.
func shows(a, b *core.Pod) bool {
	return control.Ready(a) != control.Ready(b) || control.Finished(a) != control.Finished(b) ||
		(a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil) ||
		a.Spec.NodeName != b.Spec.NodeName || a.Status.PodIP != b.Status.PodIP || a.UID != b.UID ||
		!equality.Semantic.DeepEqual(a.Status.PodIPs, b.Status.PodIPs) || !maps.Equal(a.Labels, b.Labels) ||
		a.Spec.Hostname != b.Spec.Hostname || a.Spec.Subdomain != b.Spec.Subdomain
}

func byName(s []*discovery.EndpointSlice) {
	slices.SortFunc(s, func(a, b *discovery.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
}
