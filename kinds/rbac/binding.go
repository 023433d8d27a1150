package rbac

import (
	"fmt"
	"strings"
	"time"

	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
)

// RoleBinding is rbac.authorization.k8s.io/v1 RoleBinding: who has a role in one namespace.
var RoleBinding = kinds.Def[rbac.RoleBinding, *rbac.RoleBinding]{
	Path:           "rbac.authorization.k8s.io/v1/rolebindings",
	Name:           path.ValidatePathSegmentName,
	Default:        func(b *rbac.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	Validate:       validateRoleBinding,
	ValidateUpdate: func(b, old *rbac.RoleBinding) field.ErrorList { return sameRole(b.RoleRef, old.RoleRef) },
	Columns:        bindingColumns("roleBinding", rbac.RoleBinding{}.SwaggerDoc()["roleRef"]),
	Row: func(b *rbac.RoleBinding, now time.Time) []any {
		return bindingRow(b.Name, kinds.Age(b.CreationTimestamp, now), b.RoleRef, b.Subjects)
	},
}

// ClusterRoleBinding is rbac.authorization.k8s.io/v1 ClusterRoleBinding: who has a role everywhere.
var ClusterRoleBinding = kinds.Def[rbac.ClusterRoleBinding, *rbac.ClusterRoleBinding]{
	Path:           "rbac.authorization.k8s.io/v1/clusterrolebindings",
	Cluster:        true,
	Name:           path.ValidatePathSegmentName,
	Default:        func(b *rbac.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	Validate:       validateClusterRoleBinding,
	ValidateUpdate: func(b, old *rbac.ClusterRoleBinding) field.ErrorList { return sameRole(b.RoleRef, old.RoleRef) },
	Columns:        bindingColumns("clusterRoleBinding", rbac.ClusterRoleBinding{}.SwaggerDoc()["roleRef"]),
	Row: func(b *rbac.ClusterRoleBinding, now time.Time) []any {
		return bindingRow(b.Name, kinds.Age(b.CreationTimestamp, now), b.RoleRef, b.Subjects)
	},
}

func defaultBinding(ref *rbac.RoleRef, subjects []rbac.Subject) {
	if ref.APIGroup == "" {
		ref.APIGroup = rbac.GroupName
	}
	for i := range subjects {
		if s := &subjects[i]; s.APIGroup == "" && (s.Kind == rbac.UserKind || s.Kind == rbac.GroupKind) {
			s.APIGroup = rbac.GroupName
		}
	}
}

func bindingColumns(kind, role string) []kinds.Column {
	role, _, _ = strings.Cut(role, " This field is immutable.") // said since the columns were described
	return kinds.Described(kinds.Columns("Name", "Role", "Age", "Users+", "Groups+", "ServiceAccounts+"), role,
		"Users in the "+kind, "Groups in the "+kind, "ServiceAccounts in the "+kind)
}

func bindingRow(name, age string, ref rbac.RoleRef, subjects []rbac.Subject) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbac.UserKind:
			users = append(users, s.Name)
		case rbac.GroupKind:
			groups = append(groups, s.Name)
		case rbac.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		}
	}
	return []any{
		name, fmt.Sprintf("%s/%s", ref.Kind, ref.Name), age,
		strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", "),
	}
}
