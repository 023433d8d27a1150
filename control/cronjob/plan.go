package cronjob

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client/record"
	"proa.dev/control"
)

// result is what a plan asks for: first the status, then the changes.
type result struct {
	status  batch.CronJobStatus
	changes []control.Change
	notes   []control.Note
	again   control.Again
}

// turn is one pass of planning.
type turn struct {
	cj   *batch.CronJob
	jobs []*batch.Job // controlled by cj
	now  time.Time
	out  result
}

// plan says what to do next. jobs are those that the CronJob controls.
func plan(cj *batch.CronJob, jobs []*batch.Job, now time.Time) result {
	t := &turn{cj: cj, jobs: jobs, now: now, out: result{status: *cj.Status.DeepCopy()}}
	t.follow()
	t.cleanUp()
	if cj.DeletionTimestamp == nil {
		t.schedule()
	}
	return t.out
}

func (t *turn) note(typ, reason, format string, args ...any) {
	t.out.notes = append(t.out.notes, control.Note{On: t.cj, Type: typ, Reason: reason, Format: fmt.Sprintf(format, args...)})
}

func ended(j *batch.Job) (batch.JobConditionType, bool) {
	for _, c := range j.Status.Conditions {
		if (c.Type == batch.JobComplete || c.Type == batch.JobFailed) && c.Status == core.ConditionTrue {
			return c.Type, true
		}
	}
	return "", false
}

// follow brings the list of active Jobs up to date.
func (t *turn) follow() {
	st := &t.out.status
	byUID := map[types.UID]*batch.Job{}
	for _, j := range t.jobs {
		byUID[j.UID] = j
	}
	var active []core.ObjectReference
	listed := map[types.UID]bool{}
	for _, ref := range st.Active {
		j, ok := byUID[ref.UID]
		if !ok {
			t.note(core.EventTypeNormal, "MissingJob", "Active job went missing: %v", ref.Name)
			continue
		}
		listed[ref.UID] = true
		how, over := ended(j)
		if !over {
			active = append(active, ref)
			continue
		}
		t.note(core.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, how)
	}
	for _, j := range t.jobs {
		how, over := ended(j)
		if over && how == batch.JobComplete && j.Status.CompletionTime != nil &&
			(st.LastSuccessfulTime == nil || j.Status.CompletionTime.After(st.LastSuccessfulTime.Time)) {
			st.LastSuccessfulTime = j.Status.CompletionTime
		}
		if over || listed[j.UID] || j.DeletionTimestamp != nil {
			continue
		}
		if j.Annotations[batch.CronJobScheduledTimestampAnnotation] == "" { // made by hand from our template
			t.note(core.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", j.Name)
			continue
		}
		active = append(active, refOf(j)) // made by us, but we were cut short before we noted it
	}
	st.Active = active
}

func refOf(j *batch.Job) core.ObjectReference { return record.Reference(j) }

// cleanUp deletes the oldest Jobs that ended, beyond the limits of history.
func (t *turn) cleanUp() {
	for _, h := range []struct {
		how   batch.JobConditionType
		limit *int32
	}{{batch.JobComplete, t.cj.Spec.SuccessfulJobsHistoryLimit}, {batch.JobFailed, t.cj.Spec.FailedJobsHistoryLimit}} {
		if h.limit == nil {
			continue
		}
		var over []*batch.Job
		for _, j := range t.jobs {
			if how, ok := ended(j); ok && how == h.how && j.DeletionTimestamp == nil {
				over = append(over, j)
			}
		}
		slices.SortFunc(over, func(a, b *batch.Job) int {
			at := func(j *batch.Job) time.Time {
				if j.Status.StartTime != nil {
					return j.Status.StartTime.Time
				}
				return j.CreationTimestamp.Time
			}
			return cmp.Or(at(a).Compare(at(b)), cmp.Compare(a.Name, b.Name))
		})
		for _, j := range over[:max(0, len(over)-int(*h.limit))] {
			t.delete(j)
		}
	}
}

func (t *turn) delete(j *batch.Job) {
	t.out.changes = append(t.out.changes, control.Change{
		Op: control.Delete, Object: j, Propagation: new(metav1.DeletePropagationBackground),
		Said:    control.Note{On: t.cj, Reason: "SuccessfulDelete", Format: "Deleted job " + j.Name},
		Refused: control.Note{On: t.cj, Reason: "FailedDelete", Format: "Deleted job: %[1]v"},
	})
}

// schedule starts the Job of the last time that was missed, and says when the next one is due.
func (t *turn) schedule() {
	zone := time.Local
	if name := t.cj.Spec.TimeZone; name != nil {
		var err error
		if zone, err = time.LoadLocation(*name); err != nil {
			t.note(core.EventTypeWarning, "UnknownTimeZone", "invalid timeZone: %q: %s", *name, err)
			return
		}
	}
	if control.Or(t.cj.Spec.Suspend, false) {
		return
	}
	s, err := parse(t.cj.Spec.Schedule, zone)
	if err != nil {
		t.note(core.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", t.cj.Spec.Schedule, err)
		return
	}
	next := s.next(t.now)
	if next.IsZero() { // the 31st of February; Kubernetes says it so
		t.note(core.EventTypeWarning, "InvalidSchedule", "invalid schedule: %s : time difference between two schedules is less than 1 second", t.cj.Spec.Schedule)
		return
	}
	earliest := t.cj.CreationTimestamp.Time
	if last := t.cj.Status.LastScheduleTime; last != nil {
		earliest = last.Time
	}
	from := earliest
	if d := t.cj.Spec.StartingDeadlineSeconds; d != nil {
		if bound := t.now.Add(-time.Duration(*d) * time.Second); bound.After(from) {
			from = bound
		}
	}
	due, missed := s.last(from, t.now)
	if s.every > 0 {
		next = earliest.Add(s.every * (t.now.Sub(earliest)/s.every + 1))
	}
	t.out.again = control.Until(next, t.now)
	if missed >= many {
		t.note(core.EventTypeWarning, "TooManyMissedTimes",
			"too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	if missed > 0 {
		t.start(due)
	} else if late, n := s.last(earliest, from); n > 0 && (t.cj.Status.LastScheduleTime == nil || late.After(t.cj.Status.LastScheduleTime.Time)) {
		t.note(core.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", late.UTC().Format(time.RFC1123Z))
	}
}

// start makes the Job of a time, as the concurrency policy allows.
func (t *turn) start(at time.Time) {
	st := &t.out.status
	name := fmt.Sprintf("%s-%d", t.cj.Name, at.Unix()/60)
	for _, j := range t.jobs {
		if j.Name == name {
			st.LastScheduleTime = new(metav1.NewTime(at)) // made before we could note it
			return
		}
	}
	switch t.cj.Spec.ConcurrencyPolicy {
	case batch.ForbidConcurrent:
		if len(st.Active) > 0 {
			t.note(core.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
			return
		}
	case batch.ReplaceConcurrent:
		for _, ref := range st.Active {
			for _, j := range t.jobs {
				if j.UID == ref.UID {
					t.delete(j)
				}
			}
		}
		st.Active = nil
	}
	template := t.cj.Spec.JobTemplate.DeepCopy()
	annotations := maps.Clone(template.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[batch.CronJobScheduledTimestampAnnotation] = at.Format(time.RFC3339)
	t.out.changes = append(t.out.changes, control.Change{
		Op: control.Create,
		Object: &batch.Job{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: t.cj.Namespace, Name: name, Labels: template.Labels, Annotations: annotations,
				OwnerReferences: []metav1.OwnerReference{control.RefOf(t.cj)},
			},
			Spec: template.Spec,
		},
		Said:    control.Note{On: t.cj, Reason: "SuccessfulCreate", Format: "Created job " + name},
		Refused: control.Note{On: t.cj, Reason: "FailedCreate", Format: "Error creating job: %[1]v"},
	})
	st.LastScheduleTime = new(metav1.NewTime(at))
}
