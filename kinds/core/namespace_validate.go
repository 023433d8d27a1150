package core

import (
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/object"
)

func validateNamespace(n *core.Namespace) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		finalizers(e, n, func(int) *field.Path { return specPath.Child("finalizers") })
	})
}

func finalizers(e *check.Errors, n *core.Namespace, at func(i int) *field.Path) {
	for i, f := range n.Spec.Finalizers {
		p := at(i)
		e.Add(validation.ValidateFinalizerName(string(f), p)...)
		if !strings.Contains(string(f), "/") && f != core.FinalizerKubernetes &&
			string(f) != metav1.FinalizerOrphanDependents && string(f) != metav1.FinalizerDeleteDependents {
			e.Invalid(p, string(f), "name is neither a standard finalizer name nor is it fully qualified")
		}
	}
}

func validateFinalize(obj, _ object.Object) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		finalizers(e, obj.(*core.Namespace), func(i int) *field.Path { return specPath.Child("finalizers").Index(i) })
	})
}

func validateNamespaceStatus(n, _ *core.Namespace) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p := statusPath.Child("Phase")
		switch gone := !n.DeletionTimestamp.IsZero(); {
		case gone && n.Status.Phase != core.NamespaceTerminating:
			e.Invalid(p, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
		case !gone && n.Status.Phase != core.NamespaceActive:
			e.Invalid(p, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")
		}
	})
}
