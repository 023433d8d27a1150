package batch

import (
	"time"

	batch "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
	"proa.dev/kinds/core"
	"proa.dev/kinds/core/gated"
)

// CronJob is batch/v1 CronJob: Jobs by the clock.
var CronJob = kinds.Def[batch.CronJob, *batch.CronJob]{
	Path:           "batch/v1/cronjobs",
	Short:          []string{"cj"},
	Categories:     []string{"all"},
	Generation:     true,
	Status:         true,
	ValidateCreate: validateNewCronJob, ValidateUpdate: cronJobSpec,
	Warn:    warnCronJob,
	Prepare: gated.Prepare(func(c *batch.CronJob) *corev1.PodSpec { return &c.Spec.JobTemplate.Spec.Template.Spec }),
	Default: func(c *batch.CronJob) {
		if c.Spec.ConcurrencyPolicy == "" {
			c.Spec.ConcurrencyPolicy = batch.AllowConcurrent
		}
		orPtr(&c.Spec.Suspend, false)
		orPtr(&c.Spec.SuccessfulJobsHistoryLimit, 3)
		orPtr(&c.Spec.FailedJobsHistoryLimit, 1)
		defaultJobTemplate(&c.Spec.JobTemplate.Spec)
	},
	Columns: kinds.Columns("Name", "Schedule|"+batch.CronJobSpec{}.SwaggerDoc()["schedule"],
		"Timezone|"+batch.CronJobSpec{}.SwaggerDoc()["timeZone"], "Suspend:boolean|"+batch.CronJobSpec{}.SwaggerDoc()["suspend"],
		"Active:integer|"+batch.CronJobStatus{}.SwaggerDoc()["active"],
		"Last Schedule|"+batch.CronJobStatus{}.SwaggerDoc()["lastScheduleTime"], "Age",
		"Containers+|Names of each container in the template.", "Images+|Images referenced by each container in the template.",
		"Selector+|"+batch.JobSpec{}.SwaggerDoc()["selector"]),
	Row: func(c *batch.CronJob, now time.Time) []any {
		last := "<none>"
		if t := c.Status.LastScheduleTime; t != nil {
			last = kinds.Age(*t, now)
		}
		suspend := "<unset>"
		if s := c.Spec.Suspend; s != nil {
			if suspend = "False"; *s {
				suspend = "True"
			}
		}
		t := c.Spec.JobTemplate.Spec
		names, images := core.NamesAndImages(t.Template.Spec.Containers)
		return []any{
			c.Name, c.Spec.Schedule, ptr.Deref(c.Spec.TimeZone, "<none>"), suspend, int64(len(c.Status.Active)), last,
			kinds.Age(c.CreationTimestamp, now), names, images, metav1.FormatLabelSelector(t.Selector),
		}
	},
}
