package core

import (
	"maps"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
	"proa.dev/kinds/core/gated"
	"proa.dev/kinds/core/podwarn"
)

// ReplicationController is v1 ReplicationController: what ReplicaSet was before there were Deployments.
var ReplicationController = kinds.Def[core.ReplicationController, *core.ReplicationController]{
	Path:       "v1/replicationcontrollers",
	Short:      []string{"rc"},
	Categories: []string{"all"},
	Storage:    "controllers",
	Generation: true,
	Status:     true,
	Orphan:     true,
	Scale: &kinds.Scale[*core.ReplicationController]{
		Get: func(r *core.ReplicationController) kinds.ScaleInfo {
			return kinds.ScaleInfo{
				Spec: ptr.Deref(r.Spec.Replicas, 0), Status: r.Status.Replicas, Selector: labels.Set(r.Spec.Selector).String(),
			}
		},
		Set: func(r *core.ReplicationController, n int32) { r.Spec.Replicas = &n },
	},
	Default: defaultReplicationController,
	Prepare: gated.Prepare(func(r *core.ReplicationController) *core.PodSpec {
		if r.Spec.Template == nil {
			return &core.PodSpec{}
		}
		return &r.Spec.Template.Spec
	}),
	Validate: validateReplicationController, ValidateStatus: validateReplicationControllerStatus,
	Fields: func(r *core.ReplicationController) map[string]string {
		return map[string]string{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
	},
	Warn: func(r, old *core.ReplicationController) (out []string) {
		if old != nil {
			return nil
		}
		out = podwarn.Name("", r.Name)
		if r.Spec.Template != nil {
			out = append(out, podwarn.Template(specPath.Child("template"), r.Spec.Template)...)
		}
		return out
	},
	Columns: kinds.Described(kinds.Columns("Name", "Desired:integer", "Current:integer", "Ready:integer", "Age", "Containers+", "Images+", "Selector+"),
		core.ReplicationControllerSpec{}.SwaggerDoc()["replicas"], core.ReplicationControllerStatus{}.SwaggerDoc()["replicas"],
		core.ReplicationControllerStatus{}.SwaggerDoc()["readyReplicas"], "Names of each container in the template.",
		"Images referenced by each container in the template.", core.ReplicationControllerSpec{}.SwaggerDoc()["selector"]),
	Row: func(r *core.ReplicationController, now time.Time) []any {
		var names, images string
		if r.Spec.Template != nil {
			names, images = NamesAndImages(r.Spec.Template.Spec.Containers)
		}
		return []any{
			r.Name, int64(ptr.Deref(r.Spec.Replicas, 0)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
			kinds.Age(r.CreationTimestamp, now), names, images, labels.FormatLabels(r.Spec.Selector),
		}
	},
}

func defaultReplicationController(r *core.ReplicationController) {
	orPtr(&r.Spec.Replicas, 1)
	if r.Spec.Template == nil {
		return
	}
	if l := r.Spec.Template.Labels; l != nil {
		if len(r.Spec.Selector) == 0 {
			r.Spec.Selector = maps.Clone(l)
		}
		if len(r.Labels) == 0 {
			r.Labels = maps.Clone(l)
		}
	}
	DefaultPodTemplate(r.Spec.Template)
}
