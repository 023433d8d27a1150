package rbac

import (
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

func validateRole(r *rbac.Role) field.ErrorList {
	return check.Run(func(e *check.Errors) { rules(e, r.Rules, true) })
}

func validateClusterRole(r *rbac.ClusterRole) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		rules(e, r.Rules, false)
		if r.AggregationRule == nil {
			return
		}
		p := field.NewPath("aggregationRule", "clusterRoleSelectors")
		if len(r.AggregationRule.ClusterRoleSelectors) == 0 {
			e.Required(p, "at least one clusterRoleSelector required if aggregationRule is non-nil")
		}
		for i := range r.AggregationRule.ClusterRoleSelectors {
			e.Selector(p.Index(i), &r.AggregationRule.ClusterRoleSelectors[i])
			if _, err := metav1.LabelSelectorAsSelector(&r.AggregationRule.ClusterRoleSelectors[i]); err != nil {
				e.Invalid(p.Index(i), nil, "invalid label selector.")
			}
		}
	})
}

func rules(e *check.Errors, list []rbac.PolicyRule, namespaced bool) {
	for i, r := range list {
		p := field.NewPath("rules").Index(i)
		if len(r.Verbs) == 0 {
			e.Required(p.Child("verbs"), "verbs must contain at least one value")
		}
		if len(r.NonResourceURLs) > 0 {
			if namespaced {
				e.Invalid(p.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs")
			}
			if len(r.APIGroups)+len(r.Resources)+len(r.ResourceNames) > 0 {
				e.Invalid(p.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs")
			}
			continue
		}
		if len(r.APIGroups) == 0 {
			e.Required(p.Child("apiGroups"), "resource rules must supply at least one api group")
		}
		if len(r.Resources) == 0 {
			e.Required(p.Child("resources"), "resource rules must supply at least one resource")
		}
	}
}

func validateRoleBinding(b *rbac.RoleBinding) field.ErrorList {
	return check.Run(func(e *check.Errors) { binding(e, b.RoleRef, b.Subjects, "Role", "ClusterRole") })
}

func validateClusterRoleBinding(b *rbac.ClusterRoleBinding) field.ErrorList {
	return check.Run(func(e *check.Errors) { binding(e, b.RoleRef, b.Subjects, "ClusterRole") })
}

func binding(e *check.Errors, ref rbac.RoleRef, subjects []rbac.Subject, kinds ...string) {
	p := field.NewPath("roleRef")
	check.OneOf(e, p.Child("apiGroup"), ref.APIGroup, rbac.GroupName)
	check.OneOf(e, p.Child("kind"), ref.Kind, kinds...)
	if ref.Name == "" {
		e.Required(p.Child("name"), "")
	} else {
		e.Invalids(p.Child("name"), ref.Name, path.IsValidPathSegmentName(ref.Name))
	}
	for i, s := range subjects {
		subject(e, field.NewPath("subjects").Index(i), s, len(kinds) > 1)
	}
}

func subject(e *check.Errors, p *field.Path, s rbac.Subject, namespaced bool) {
	if s.Name == "" {
		e.Required(p.Child("name"), "")
	}
	switch s.Kind {
	case rbac.ServiceAccountKind:
		if s.Name != "" {
			e.Invalids(p.Child("name"), s.Name, validation.ValidateServiceAccountName(s.Name, false))
		}
		if s.APIGroup != "" {
			check.OneOf(e, p.Child("apiGroup"), s.APIGroup, "")
		}
		if !namespaced && s.Namespace == "" {
			e.Required(p.Child("namespace"), "")
		}
	case rbac.UserKind, rbac.GroupKind:
		check.OneOf(e, p.Child("apiGroup"), s.APIGroup, rbac.GroupName)
	default:
		check.OneOf(e, p.Child("kind"), s.Kind, rbac.ServiceAccountKind, rbac.UserKind, rbac.GroupKind)
	}
}

// sameRole keeps a binding with its role: who may change a binding could else give away a role that he may not.
func sameRole(now, old rbac.RoleRef) field.ErrorList {
	if now == old {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("roleRef"), struct{ APIGroup, Kind, Name string }{now.APIGroup, now.Kind, now.Name}, "cannot change roleRef")}
}
