package rest

import "k8s.io/apimachinery/pkg/runtime/schema"

// createsOnUpdate says whether a PUT of an object that does not exist creates it.
func createsOnUpdate(r schema.GroupResource) bool {
	switch r.String() {
	case "leases.coordination.k8s.io", "endpoints", "events", "events.events.k8s.io", "limitranges", "services", "runtimeclasses.node.k8s.io",
		"clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io",
		"roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io":
		return true
	}
	return false
}

// answersDeleted says whether a finished delete is answered with the object instead of a Status.
func answersDeleted(r schema.GroupResource) bool {
	switch r.String() {
	case "namespaces", "persistentvolumes", "persistentvolumeclaims", "pods", "podtemplates", "resourcequotas", "services", "serviceaccounts",
		"csidrivers.storage.k8s.io", "csinodes.storage.k8s.io", "storageclasses.storage.k8s.io", "volumeattachments.storage.k8s.io",
		"volumeattributesclasses.storage.k8s.io", "deviceclasses.resource.k8s.io", "resourceclaims.resource.k8s.io",
		"resourceclaimtemplates.resource.k8s.io", "resourceslices.resource.k8s.io":
		return true
	}
	return false
}
