package rbac

import (
	"time"

	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kinds"
)

// Role is rbac.authorization.k8s.io/v1 Role: what one may do in one namespace.
var Role = kinds.Def[rbac.Role, *rbac.Role]{
	Path:     "rbac.authorization.k8s.io/v1/roles",
	Name:     path.ValidatePathSegmentName,
	Validate: validateRole,
	Columns:  kinds.Described(kinds.Columns("Name", "Created At:date"), metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]),
	Row: func(r *rbac.Role, _ time.Time) []any {
		return []any{r.Name, r.CreationTimestamp.UTC().Format(time.RFC3339)}
	},
}
