package apps

import (
	"time"

	apps "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
	"proa.dev/kinds/core"
	"proa.dev/kinds/core/gated"
)

// ReplicaSet is apps/v1 ReplicaSet: so many pods of one template.
var ReplicaSet = kinds.Def[apps.ReplicaSet, *apps.ReplicaSet]{
	Path:       "apps/v1/replicasets",
	Short:      []string{"rs"},
	Categories: []string{"all"},
	Generation: true,
	Status:     true,
	Validate:   validateReplicaSet, ValidateUpdate: validateReplicaSetUpdate, ValidateStatus: validateReplicaSetStatus,
	Warn: warnReplicaSet,
	Scale: &kinds.Scale[*apps.ReplicaSet]{
		Get: func(r *apps.ReplicaSet) kinds.ScaleInfo {
			return scaleInfo(r.Spec.Replicas, r.Status.Replicas, r.Spec.Selector)
		},
		Set: func(r *apps.ReplicaSet, n int32) { r.Spec.Replicas = &n },
	},
	Prepare: gated.Prepare(func(r *apps.ReplicaSet) *corev1.PodSpec { return &r.Spec.Template.Spec }),
	Default: func(r *apps.ReplicaSet) {
		orPtr(&r.Spec.Replicas, 1)
		core.DefaultPodTemplate(&r.Spec.Template)
	},
	Columns: kinds.Columns("Name", "Desired:integer|"+apps.ReplicaSetSpec{}.SwaggerDoc()["replicas"],
		"Current:integer|"+apps.ReplicaSetStatus{}.SwaggerDoc()["replicas"],
		"Ready:integer|"+apps.ReplicaSetStatus{}.SwaggerDoc()["readyReplicas"], "Age",
		"Containers+|Names of each container in the template.", "Images+|Images referenced by each container in the template.",
		"Selector+|"+apps.ReplicaSetSpec{}.SwaggerDoc()["selector"]),
	Row: func(r *apps.ReplicaSet, now time.Time) []any {
		names, images := core.NamesAndImages(r.Spec.Template.Spec.Containers)
		return []any{
			r.Name, int64(ptr.Deref(r.Spec.Replicas, 0)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
			kinds.Age(r.CreationTimestamp, now), names, images, formatSelector(r.Spec.Selector),
		}
	},
}
