package rbac

import (
	"time"

	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kinds"
)

// ClusterRole is rbac.authorization.k8s.io/v1 ClusterRole: what one may do, in the whole cluster or where a RoleBinding says.
var ClusterRole = kinds.Def[rbac.ClusterRole, *rbac.ClusterRole]{
	Path:     "rbac.authorization.k8s.io/v1/clusterroles",
	Cluster:  true,
	Name:     path.ValidatePathSegmentName,
	Validate: validateClusterRole,
	Columns:  kinds.Described(kinds.Columns("Name", "Created At:date"), metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]),
	Row: func(r *rbac.ClusterRole, _ time.Time) []any {
		return []any{r.Name, r.CreationTimestamp.UTC().Format(time.RFC3339)}
	},
}
