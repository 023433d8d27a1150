package apps

import (
	"strconv"
	"time"

	apps "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/kinds"
	"proa.dev/kinds/core"
	"proa.dev/kinds/core/gated"
)

// DaemonSet is apps/v1 DaemonSet: one pod on each node that fits.
var DaemonSet = kinds.Def[apps.DaemonSet, *apps.DaemonSet]{
	Path:       "apps/v1/daemonsets",
	Short:      []string{"ds"},
	Categories: []string{"all"},
	Generation: true,
	Status:     true,
	Default:    defaultDaemonSet,
	Prepare:    prepareDaemonSet,
	PrepareStatus: func(d, old *apps.DaemonSet) {
		number(d, templateNumber(old))
	},
	ValidateCreate: validateDaemonSet, ValidateUpdate: validateDaemonSetUpdate, ValidateStatus: validateDaemonSetStatus,
	Warn: warnDaemonSet,
	Columns: kinds.Columns("Name", "Desired:integer|"+apps.DaemonSetStatus{}.SwaggerDoc()["desiredNumberScheduled"],
		"Current:integer|"+apps.DaemonSetStatus{}.SwaggerDoc()["currentNumberScheduled"],
		"Ready:integer|"+apps.DaemonSetStatus{}.SwaggerDoc()["numberReady"],
		"Up-to-date:integer|"+apps.DaemonSetStatus{}.SwaggerDoc()["updatedNumberScheduled"],
		"Available:integer|"+apps.DaemonSetStatus{}.SwaggerDoc()["numberAvailable"],
		"Node Selector|"+corev1.PodSpec{}.SwaggerDoc()["nodeSelector"], "Age",
		"Containers+|Names of each container in the template.", "Images+|Images referenced by each container in the template.",
		"Selector+|"+apps.DaemonSetSpec{}.SwaggerDoc()["selector"]),
	Row: func(d *apps.DaemonSet, now time.Time) []any {
		names, images := core.NamesAndImages(d.Spec.Template.Spec.Containers)
		return []any{
			d.Name, int64(d.Status.DesiredNumberScheduled), int64(d.Status.CurrentNumberScheduled), int64(d.Status.NumberReady),
			int64(d.Status.UpdatedNumberScheduled), int64(d.Status.NumberAvailable),
			labels.FormatLabels(d.Spec.Template.Spec.NodeSelector), kinds.Age(d.CreationTimestamp, now),
			names, images, formatSelector(d.Spec.Selector),
		}
	},
}

func defaultDaemonSet(d *apps.DaemonSet) {
	s := &d.Spec
	orPtr(&s.RevisionHistoryLimit, 10)
	if s.UpdateStrategy.Type == "" {
		s.UpdateStrategy.Type = apps.RollingUpdateDaemonSetStrategyType
	}
	down := int32(0) // what is there without being used is nothing
	if s.UpdateStrategy.Type == apps.RollingUpdateDaemonSetStrategyType {
		if s.UpdateStrategy.RollingUpdate == nil {
			s.UpdateStrategy.RollingUpdate = &apps.RollingUpdateDaemonSet{}
		}
		down = 1
	}
	if r := s.UpdateStrategy.RollingUpdate; r != nil {
		orPtr(&r.MaxUnavailable, intstr.FromInt32(down))
		orPtr(&r.MaxSurge, intstr.FromInt32(0))
	}
	core.DefaultPodTemplate(&s.Template)
	number(d, templateNumber(d)) // so that who creates it owns it
}

func prepareDaemonSet(d, old *apps.DaemonSet) {
	gated.Prepare(func(d *apps.DaemonSet) *corev1.PodSpec { return &d.Spec.Template.Spec })(d, old)
	countTemplates(d, old)
}

// countTemplates keeps the number of the template, which v1 shows as an annotation, so that older controllers can tell templates
// apart. Only a new DaemonSet may say its own.
func countTemplates(d, old *apps.DaemonSet) {
	if old == nil {
		number(d, max(templateNumber(d), 1))
		return
	}
	n := templateNumber(old)
	if !equality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
		n++
	}
	number(d, n)
}

func templateNumber(d *apps.DaemonSet) int64 {
	n, err := strconv.ParseInt(d.Annotations[apps.DeprecatedTemplateGeneration], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func number(d *apps.DaemonSet, n int64) {
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[apps.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
}
