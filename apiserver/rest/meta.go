package rest

import (
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/object"
)

// standardFinalizers are those without a domain.
var standardFinalizers = [...]string{string(core.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents}

// anyFinalizer are the groups whose kinds may have other finalizers without a domain, too.
var anyFinalizer = [...]string{"admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "coordination.k8s.io", "node.k8s.io", "policy"}

// checkMeta checks what every kind has.
func checkMeta(s *Served, o object.Object) field.ErrorList {
	m := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaAccessor(o, s.Namespaced, s.Kind.Name, m)
	if len(errs) == 0 {
		if prefix := o.GetGenerateName(); prefix != "" {
			for _, msg := range path.IsValidPathSegmentPrefix(prefix) {
				errs = append(errs, field.Invalid(m.Child("generateName"), prefix, msg))
			}
		}
		for _, msg := range path.IsValidPathSegmentName(o.GetName()) {
			errs = append(errs, field.Invalid(m.Child("name"), o.GetName(), msg))
		}
	}
	return append(errs, checkFinalizers(s, o)...)
}

// checkFinalizers wants finalizers without a domain to be those of Kubernetes.
func checkFinalizers(s *Served, o object.Object) (errs field.ErrorList) {
	if s.Kind.Custom != nil || slices.Contains(anyFinalizer[:], s.Group) || s.group().String() == "events" {
		return nil
	}
	for i, f := range o.GetFinalizers() {
		if !strings.Contains(f, "/") && !slices.Contains(standardFinalizers[:], f) {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "finalizers").Index(i), f,
				"name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

// metaAgain is what the checks of a kind find in the metadata of a changed object, which was looked at before for all kinds: most
// causes come twice or three times, and some only here. bad says that there were any.
func metaAgain(s *Served, c change, o, old object.Object, bad bool) (errs field.ErrorList) {
	m, finalizers := field.NewPath("metadata"), checkFinalizers(s, o)
	for _, look := range metaLooks(s.group(), c.status) {
		switch {
		case look == 'c' && bad:
			errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(o, old, m)...)
		case look == 'a' && (bad || o.GetGenerateName() != old.GetGenerateName()):
			errs = append(errs, validation.ValidateObjectMetaAccessor(o, s.Namespaced, s.Kind.Name, m)...)
		}
		errs = append(errs, finalizers...)
	}
	return errs
}

// metaLooks is how the checks of a kind, or of its status, look at the metadata of a changed object: c, at what has changed; a, at all of it.
func metaLooks(r schema.GroupResource, status bool) string {
	switch r.String() {
	case "events", "poddisruptionbudgets.policy":
		return ""
	case "cronjobs.batch":
		if status {
			return ""
		}
		return "c"
	case "volumeattachments.storage.k8s.io", "validatingadmissionpolicies.admissionregistration.k8s.io":
		if status {
			return ""
		}
		return "a"
	case "certificatesigningrequests.certificates.k8s.io":
		return "ac"
	}
	if status {
		return "c"
	}
	switch r.String() {
	case "deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps", "resourcequotas", "podtemplates", "replicationcontrollers",
		"services", "horizontalpodautoscalers.autoscaling", "networkpolicies.networking.k8s.io", "servicecidrs.networking.k8s.io",
		"csidrivers.storage.k8s.io", "priorityclasses.scheduling.k8s.io", "leases.coordination.k8s.io", "events.events.k8s.io",
		"resourceslices.resource.k8s.io", "customresourcedefinitions.apiextensions.k8s.io", "podcertificaterequests.certificates.k8s.io":
		return "c"
	case "limitranges", "csinodes.storage.k8s.io", "endpointslices.discovery.k8s.io":
		return "a"
	case "namespaces", "nodes", "jobs.batch", "ipaddresses.networking.k8s.io", "storageclasses.storage.k8s.io",
		"csistoragecapacities.storage.k8s.io", "runtimeclasses.node.k8s.io", "clustertrustbundles.certificates.k8s.io":
		return "ac"
	case "persistentvolumes":
		return "aa"
	}
	switch r.Group {
	case "admissionregistration.k8s.io", "flowcontrol.apiserver.k8s.io":
		return "a"
	case "rbac.authorization.k8s.io", "resource.k8s.io":
		return "ac"
	}
	return "ca"
}
