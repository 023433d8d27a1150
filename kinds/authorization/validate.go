package authorization

import (
	"fmt"

	authorization "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

var specPath = field.NewPath("spec")

func validateSubject(r *authorization.SubjectAccessReview) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		subject(e, &r.Spec)
		noMeta(e, r.ObjectMeta, "", "must be empty")
	})
}

func validateSelf(r *authorization.SelfSubjectAccessReview) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		attributes(e, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
		selectors(e, r.Spec.ResourceAttributes)
		noMeta(e, r.ObjectMeta, "", "must be empty")
	})
}

func validateLocal(r *authorization.LocalSubjectAccessReview) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		subject(e, &r.Spec)
		noMeta(e, r.ObjectMeta, r.Namespace, "must be empty except for namespace")
		if a := r.Spec.ResourceAttributes; a != nil && a.Namespace != r.Namespace {
			e.Invalid(field.NewPath("spec.resourceAttributes.namespace"), a.Namespace, "must match metadata.namespace")
		}
		if r.Spec.NonResourceAttributes != nil {
			e.Invalid(field.NewPath("spec.nonResourceAttributes"), shown(r.Spec.NonResourceAttributes), "disallowed on this kind of request")
		}
	})
}

func subject(e *check.Errors, s *authorization.SubjectAccessReviewSpec) {
	attributes(e, s.ResourceAttributes, s.NonResourceAttributes)
	if s.User == "" && len(s.Groups) == 0 {
		e.Invalid(specPath.Child("user"), s.User, "at least one of user or group must be specified")
	}
	selectors(e, s.ResourceAttributes)
}

func attributes(e *check.Errors, r *authorization.ResourceAttributes, n *authorization.NonResourceAttributes) {
	switch {
	case r != nil && n != nil:
		e.Invalid(specPath.Child("nonResourceAttributes"), shown(n), "cannot be specified in combination with resourceAttributes")
	case r == nil && n == nil:
		e.Invalid(specPath.Child("resourceAttributes"), n, "exactly one of nonResourceAttributes or resourceAttributes must be specified")
	}
}

// shown is n as Kubernetes shows it in errors: by the names of its own fields.
func shown(n *authorization.NonResourceAttributes) any {
	return struct{ Path, Verb string }{n.Path, n.Verb}
}

func selectors(e *check.Errors, r *authorization.ResourceAttributes) {
	if r == nil {
		return
	}
	if s := r.FieldSelector; s != nil {
		p := field.NewPath("spec.resourceAttributes").Child("fieldSelector")
		oneForm(e, p, s.RawSelector, len(s.Requirements))
		for i, x := range s.Requirements {
			e.Add(metavalidation.ValidateFieldSelectorRequirement(x,
				metavalidation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, p.Child("requirements").Index(i))...)
		}
	}
	if s := r.LabelSelector; s != nil {
		p := field.NewPath("spec.resourceAttributes").Child("labelSelector")
		oneForm(e, p, s.RawSelector, len(s.Requirements))
		for i, x := range s.Requirements {
			e.Add(metavalidation.ValidateLabelSelectorRequirement(x,
				metavalidation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, p.Child("requirements").Index(i))...)
		}
	}
}

func oneForm(e *check.Errors, p *field.Path, raw string, requirements int) {
	switch {
	case raw != "" && requirements > 0:
		e.Invalid(p.Child("rawSelector"), raw, "may not specified at the same time as requirements")
	case raw == "" && requirements == 0:
		e.Required(p.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", p))
	}
}

// noMeta wants metadata to have nothing but this namespace. What the server itself has written there does not count.
func noMeta(e *check.Errors, m metav1.ObjectMeta, namespace, detail string) {
	if !equality.Semantic.DeepEqual(m, metav1.ObjectMeta{Namespace: namespace, ManagedFields: m.ManagedFields}) {
		e.Invalid(field.NewPath("metadata"), m, detail)
	}
}
