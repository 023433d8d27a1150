package batch

import (
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	batch "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
	"proa.dev/kinds/core"
	"proa.dev/kinds/core/gated"
)

// Job is batch/v1 Job: pods that run to completion.
var Job = kinds.Def[batch.Job, *batch.Job]{
	Path:       "batch/v1/jobs",
	Categories: []string{"all"},
	Generation: true,
	Status:     true,
	Orphan:     true,
	Default:    defaultJob,
	Prepare:    prepareJob,
	Validate:   validateJob, ValidateUpdate: validateJobUpdate, ValidateStatus: validateJobStatus,
	Warn: warnJob,
	Fields: func(j *batch.Job) map[string]string {
		return map[string]string{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
	},
	Columns: kinds.Columns("Name", "Status|Status of the job.", "Completions|"+batch.JobStatus{}.SwaggerDoc()["succeeded"],
		"Duration|Time required to complete the job.", "Age", "Containers+|Names of each container in the template.",
		"Images+|Images referenced by each container in the template.", "Selector+|"+batch.JobSpec{}.SwaggerDoc()["selector"]),
	Row: jobRow,
}

func defaultJob(j *batch.Job) {
	defaultJobSpec(&j.Spec)
	if l := j.Spec.Template.Labels; l != nil && len(j.Labels) == 0 {
		j.Labels = maps.Clone(l)
	}
}

func defaultJobSpec(s *batch.JobSpec) {
	if s.Completions == nil && s.Parallelism == nil {
		s.Completions = ptr.To[int32](1)
	}
	orPtr(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		orPtr(&s.BackoffLimit, math.MaxInt32)
	}
	orPtr(&s.BackoffLimit, 6)
	orPtr(&s.CompletionMode, batch.NonIndexedCompletion)
	orPtr(&s.Suspend, false)
	orPtr(&s.ManualSelector, false)
	replace := batch.TerminatingOrFailed
	if s.PodFailurePolicy != nil {
		replace = batch.Failed
	}
	orPtr(&s.PodReplacementPolicy, replace)
	defaultJobTemplate(s)
}

// defaultJobTemplate fills what is filled in the Jobs of a CronJob's template, too.
func defaultJobTemplate(s *batch.JobSpec) {
	if p := s.PodFailurePolicy; p != nil {
		for i := range p.Rules {
			for j := range p.Rules[i].OnPodConditions {
				if c := &p.Rules[i].OnPodConditions[j]; c.Status == "" {
					c.Status = corev1.ConditionTrue
				}
			}
		}
	}
	core.DefaultPodTemplate(&s.Template)
}

// prepareJob gives a new Job a selector of its own, by its uid, unless the author brought one.
func prepareJob(j, old *batch.Job) {
	gated.Prepare(func(j *batch.Job) *corev1.PodSpec { return &j.Spec.Template.Spec })(j, old)
	if old != nil || ptr.Deref(j.Spec.ManualSelector, false) {
		return
	}
	uid := string(j.UID)
	l := &j.Spec.Template.Labels
	made := j.GenerateName != "" && strings.HasPrefix(j.Name, j.GenerateName) // the name: then they are a copy
	if maps.Equal(j.Labels, *l) && !made {                                    // its own are the template's by default, and those now grow
		defer func() { j.Labels = maps.Clone(*l) }()
	}
	for k, v := range map[string]string{
		"job-name": j.Name, batch.JobNameLabel: j.Name, "controller-uid": uid, batch.ControllerUidLabel: uid,
	} {
		if _, ok := (*l)[k]; !ok {
			if *l == nil {
				*l = map[string]string{}
			}
			(*l)[k] = v // labels of the author's that say otherwise fail validation
		}
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, ok := j.Spec.Selector.MatchLabels[batch.ControllerUidLabel]; !ok {
		j.Spec.Selector.MatchLabels[batch.ControllerUidLabel] = uid
	}
}

func jobRow(j *batch.Job, now time.Time) []any {
	completions := fmt.Sprintf("%d/1", j.Status.Succeeded)
	if c := j.Spec.Completions; c != nil {
		completions = fmt.Sprintf("%d/%d", j.Status.Succeeded, *c)
	} else if p := ptr.Deref(j.Spec.Parallelism, 0); p > 1 {
		completions = fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, p)
	}
	took := ""
	if s, c := j.Status.StartTime, j.Status.CompletionTime; s != nil {
		end := now
		if c != nil {
			end = c.Time
		}
		took = duration.HumanDuration(end.Sub(s.Time))
	}
	names, images := core.NamesAndImages(j.Spec.Template.Spec.Containers)
	return []any{
		j.Name, jobStatus(j), completions, took, kinds.Age(j.CreationTimestamp, now),
		names, images, metav1.FormatLabelSelector(j.Spec.Selector),
	}
}

func jobStatus(j *batch.Job) string {
	has := func(t batch.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == t {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	}
	switch {
	case has(batch.JobComplete):
		return "Complete"
	case has(batch.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case has(batch.JobSuspended):
		return "Suspended"
	case has(batch.JobFailureTarget):
		return "FailureTarget"
	case has(batch.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func orPtr[T any](p **T, v T) {
	if *p == nil {
		*p = ptr.To(v)
	}
}
