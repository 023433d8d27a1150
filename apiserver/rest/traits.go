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

// metaOnce says whether the metadata of a changed object is not looked at once more by the checks of the kind, which repeat what they
// find.
func metaOnce(r schema.GroupResource) bool {
	switch r.String() {
	case "deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps", "cronjobs.batch", "limitranges", "resourcequotas", "podtemplates", "replicationcontrollers",
		"services", "horizontalpodautoscalers.autoscaling", "customresourcedefinitions.apiextensions.k8s.io", "endpointslices.discovery.k8s.io", "networkpolicies.networking.k8s.io":
		return true
	}
	return false
}

// metaNever says whether the checks of the kind, or of its status, do not look at the metadata of a changed object at all.
func metaNever(r schema.GroupResource, status bool) bool {
	switch r.String() {
	case "events", "poddisruptionbudgets.policy":
		return true
	case "cronjobs.batch":
		return status
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
