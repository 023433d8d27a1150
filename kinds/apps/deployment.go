package apps

import (
	"fmt"
	"time"

	apps "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
	"proa.dev/kinds/core"
	"proa.dev/kinds/core/gated"
)

// Deployment is apps/v1 Deployment: a template, how many, and how to change from one to the next.
var Deployment = kinds.Def[apps.Deployment, *apps.Deployment]{
	Path:       "apps/v1/deployments",
	Short:      []string{"deploy"},
	Categories: []string{"all"},
	Generation: true,
	Status:     true,
	Scale: &kinds.Scale[*apps.Deployment]{
		Get: func(d *apps.Deployment) kinds.ScaleInfo {
			return scaleInfo(d.Spec.Replicas, d.Status.Replicas, d.Spec.Selector)
		},
		Set: func(d *apps.Deployment, n int32) { d.Spec.Replicas = &n },
	},
	Default: defaultDeployment,
	Prepare: func(d, old *apps.Deployment) {
		gated.Prepare(func(d *apps.Deployment) *corev1.PodSpec { return &d.Spec.Template.Spec })(d, old)
		// Annotations are copied to the ReplicaSets, so they count as a change of what is asked for.
		if old != nil && !equality.Semantic.DeepEqual(d.Annotations, old.Annotations) {
			d.Generation = old.Generation + 1
		}
	},
	PrepareStatus: func(d, old *apps.Deployment) { d.Labels = old.Labels },
	Validate:      validateDeployment, ValidateUpdate: validateDeploymentUpdate, ValidateStatus: validateDeploymentStatus,
	Warn: warnDeployment,
	Columns: kinds.Columns("Name", "Ready|Number of the pod with ready state",
		"Up-to-date|"+apps.DeploymentStatus{}.SwaggerDoc()["updatedReplicas"],
		"Available|"+apps.DeploymentStatus{}.SwaggerDoc()["availableReplicas"], "Age",
		"Containers+|Names of each container in the template.", "Images+|Images referenced by each container in the template.",
		"Selector+|"+apps.DeploymentSpec{}.SwaggerDoc()["selector"]),
	Row: func(d *apps.Deployment, now time.Time) []any {
		names, images := core.NamesAndImages(d.Spec.Template.Spec.Containers)
		return []any{
			d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, ptr.Deref(d.Spec.Replicas, 0)), int64(d.Status.UpdatedReplicas),
			int64(d.Status.AvailableReplicas), kinds.Age(d.CreationTimestamp, now), names, images, formatSelector(d.Spec.Selector),
		}
	},
}

func defaultDeployment(d *apps.Deployment) {
	s := &d.Spec
	orPtr(&s.Replicas, 1)
	orPtr(&s.RevisionHistoryLimit, 10)
	orPtr(&s.ProgressDeadlineSeconds, 600)
	if s.Strategy.Type == "" {
		s.Strategy.Type = apps.RollingUpdateDeploymentStrategyType
	}
	if s.Strategy.Type == apps.RollingUpdateDeploymentStrategyType {
		if s.Strategy.RollingUpdate == nil {
			s.Strategy.RollingUpdate = &apps.RollingUpdateDeployment{}
		}
		orPtr(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		orPtr(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	core.DefaultPodTemplate(&s.Template)
}
