package rest

import (
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// metaAgain is what the checks of a kind find in the metadata of a changed object, which was looked at before for all kinds: what only
// they know, but for the servers that say everything again. bad says that something was found before.
func metaAgain(s *Served, c change, o, old object.Object, bad bool) (errs field.ErrorList) {
	m := field.NewPath("metadata")
	if repeats(s) && bad {
		errs = validation.ValidateObjectMetaAccessorUpdate(o, old, m)
	}
	if !metaNever(s.group(), c.status) {
		errs = append(errs, checkFinalizers(s, o)...)
	}
	if c.status || metaOnce(s.group()) {
		return errs
	}
	if repeats(s) && bad || o.GetGenerateName() != old.GetGenerateName() {
		errs = append(errs, validation.ValidateObjectMetaAccessor(o, s.Namespaced, s.Kind.Name, m)...)
	}
	return errs
}

// repeats says whether an error that is found twice is told twice: so do the servers of custom resources and of other servers.
func repeats(s *Served) bool {
	return s.Kind.Custom != nil || s.Group == "apiextensions.k8s.io" || s.Group == "apiregistration.k8s.io"
}

// once is errs, each of them once.
func once(s *Served, errs field.ErrorList) field.ErrorList {
	if len(errs) < 2 || repeats(s) {
		return errs
	}
	seen := make(map[string]bool, len(errs))
	return slices.DeleteFunc(errs, func(e *field.Error) bool {
		text := e.Error()
		was := seen[text]
		seen[text] = true
		return was
	})
}
