package apps

import (
	"strings"
	"time"

	apps "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/kinds"
)

// ControllerRevision is apps/v1 ControllerRevision: one past template of a StatefulSet or DaemonSet.
var ControllerRevision = kinds.Def[apps.ControllerRevision, *apps.ControllerRevision]{
	Path:     "apps/v1/controllerrevisions",
	Validate: validateRevision, ValidateCreate: validateNewRevision, ValidateUpdate: validateRevisionUpdate,
	Columns: kinds.Columns("Name", "Controller|Controller of the object", "Revision|"+apps.ControllerRevision{}.SwaggerDoc()["revision"], "Age"),
	Row: func(r *apps.ControllerRevision, now time.Time) []any {
		return []any{r.Name, controllerName(r), r.Revision, kinds.Age(r.CreationTimestamp, now)}
	},
}

func controllerName(o metav1.Object) string {
	ref := metav1.GetControllerOf(o)
	if ref == nil {
		return "<none>"
	}
	kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
	return strings.ToLower(kind.String()) + "/" + ref.Name
}
