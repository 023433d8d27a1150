package cronjob

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func TestNext(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spec, after, want string
		zone              *time.Location
	}{
		{"* * * * *", "2030-01-01T12:00:30Z", "2030-01-01T12:01:00Z", time.UTC},
		{"*/15 * * * *", "2030-01-01T12:00:00Z", "2030-01-01T12:15:00Z", time.UTC},
		{"5/20 * * * *", "2030-01-01T12:46:00Z", "2030-01-01T13:05:00Z", time.UTC},
		{"0 9-17/4 * * MON-FRI", "2030-01-04T17:00:00Z", "2030-01-07T09:00:00Z", time.UTC}, // Friday evening
		{"30 4 1,15 * 5", "2030-01-01T05:00:00Z", "2030-01-04T04:30:00Z", time.UTC},        // either day
		{"0 0 29 feb ?", "2030-01-01T00:00:00Z", "2032-02-29T00:00:00Z", time.UTC},
		{"0 0 30 2 *", "2030-01-01T00:00:00Z", "0001-01-01T00:00:00Z", time.UTC},
		{"@daily", "2030-12-31T23:59:59Z", "2031-01-01T00:00:00Z", time.UTC},
		{"@every 90m", "2030-01-01T12:00:00Z", "2030-01-01T13:30:00Z", time.UTC},
		{"0 8 * * *", "2030-07-01T12:00:00Z", "2030-07-02T06:00:00Z", berlin},
		{"30 2 * * *", "2030-03-30T12:00:00Z", "2030-04-01T00:30:00Z", berlin}, // 02:30 does not exist on the 31st
		{"0 * * * *", "2030-03-31T00:30:00Z", "2030-03-31T01:00:00Z", berlin},  // the hour that is skipped
		{"30 * * * *", "2030-10-27T00:30:00Z", "2030-10-27T01:30:00Z", berlin}, // the hour that comes twice
	} {
		s, err := parse(c.spec, c.zone)
		if err != nil {
			t.Errorf("%s: %v", c.spec, err)
			continue
		}
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.next(after).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s after %s: got %s, want %s", c.spec, c.after, got, c.want)
		}
	}
}

func TestBadSchedules(t *testing.T) {
	for _, spec := range []string{"", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "5-1 * * * *", "*/0 * * * *", "a * * * *", "@never", "@every 1ms", "1- * * * *"} {
		if _, err := parse(spec, time.UTC); err == nil {
			t.Errorf("%q is accepted", spec)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"*/5 9-17 * * MON-FRI", "@every 1h", "0 0 29 2 *", "1,2,3-9/2 * ? JAN *"} {
		f.Add(s, int64(1893456000))
	}
	f.Fuzz(func(t *testing.T, spec string, unix int64) {
		s, err := parse(spec, time.UTC)
		if err != nil {
			return
		}
		now := time.Unix(unix%(1<<33), 0)
		if next := s.next(now); !next.IsZero() && !next.After(now) {
			t.Errorf("%q: next of %v is %v", spec, now, next)
		}
	})
}

func TestLastAfterALongAbsence(t *testing.T) {
	s, err := parse("*/2 * * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	now := controltest.Start.Add(time.Minute)
	got, n := s.last(now.AddDate(-5, 0, 0), now)
	if !got.Equal(controltest.Start) || n < many {
		t.Errorf("got %v after %d", got, n)
	}
}

var key = object.Key{Namespace: "default", Name: "tick"}

func start(t *testing.T, policy batch.ConcurrencyPolicy, change func(*batch.CronJob)) *controltest.API {
	a := controltest.New(t)
	a.Serve(&batch.CronJob{}, &batch.Job{})
	c, err := New(control.Deps{Client: a.Client(), View: a.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	cj := &batch.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "tick"},
		Spec: batch.CronJobSpec{
			Schedule: "* * * * *", TimeZone: new("Etc/UTC"), ConcurrencyPolicy: policy,
			SuccessfulJobsHistoryLimit: new(int32(3)), FailedJobsHistoryLimit: new(int32(1)),
		},
	}
	if change != nil {
		change(cj)
	}
	a.Put(cj)
	return a
}

func jobs(a *controltest.API) []*batch.Job {
	return client.ListOf[batch.Job](a.View(), client.Select{})
}

func get(t *testing.T, a *controltest.API) *batch.CronJob {
	t.Helper()
	cj, ok := client.Lookup[batch.CronJob](a.View(), key)
	if !ok {
		t.Fatal("the CronJob is gone")
	}
	return cj
}

func finish(a *controltest.API, j *batch.Job, how batch.JobConditionType) {
	j = object.Clone(j)
	j.Status.Conditions = []batch.JobCondition{{Type: how, Status: core.ConditionTrue}}
	j.Status.CompletionTime = new(metav1.Now())
	a.Put(j)
}

func TestTicksAndKeepsHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, batch.AllowConcurrent, nil)
		time.Sleep(30 * time.Second)
		for range 6 {
			time.Sleep(time.Minute)
			for _, j := range jobs(a) {
				if _, over := ended(j); !over {
					finish(a, j, batch.JobComplete)
				}
			}
		}
		time.Sleep(time.Second)
		st := get(t, a).Status
		if n := len(jobs(a)); n != 3 || len(st.Active) != 0 || st.LastSuccessfulTime == nil {
			t.Errorf("%d Jobs, status %+v; want 3 of history", n, st)
		}
		if want := fmt.Sprintf("tick-%d", st.LastScheduleTime.Unix()/60); jobs(a)[2].Name != want {
			t.Errorf("name %s, want %s", jobs(a)[2].Name, want)
		}
	})
}

// A Job that somebody makes from the template by hand is ours, but none of those that run by the schedule.
func TestJobMadeByHand(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 30, 0, time.UTC)
	cj := &batch.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "tick", UID: "u", CreationTimestamp: metav1.NewTime(at)}}
	cj.Spec.Schedule, cj.Spec.ConcurrencyPolicy = "0 * * * *", batch.ForbidConcurrent
	byHand := &batch.Job{ObjectMeta: metav1.ObjectMeta{Name: "mine", UID: "1"}}
	ours := &batch.Job{ObjectMeta: metav1.ObjectMeta{Name: "tick-1", UID: "2", Annotations: map[string]string{
		batch.CronJobScheduledTimestampAnnotation: at.Format(time.RFC3339),
	}}}
	r := plan(cj, []*batch.Job{byHand, ours}, at)
	if len(r.status.Active) != 1 || r.status.Active[0].Name != "tick-1" {
		t.Errorf("active: %v, want tick-1", r.status.Active)
	}
	if len(r.notes) != 1 || r.notes[0].Reason != "UnexpectedJob" {
		t.Errorf("notes: %v, want that a Job is unexpected", r.notes)
	}
}

func TestConcurrency(t *testing.T) {
	for policy, want := range map[batch.ConcurrencyPolicy]int{batch.AllowConcurrent: 3, batch.ForbidConcurrent: 1, batch.ReplaceConcurrent: 1} {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, policy, nil)
			time.Sleep(3*time.Minute + 30*time.Second)
			if n := len(jobs(a)); n != want || len(get(t, a).Status.Active) != want {
				t.Errorf("%s: %d Jobs, %d active, want %d", policy, n, len(get(t, a).Status.Active), want)
			}
			first := strings.HasSuffix(jobs(a)[0].Name, fmt.Sprint(get(t, a).CreationTimestamp.Unix()/60+1))
			if first != (policy != batch.ReplaceConcurrent) {
				t.Errorf("%s: the first Job is %s", policy, jobs(a)[0].Name)
			}
		})
	}
}

func TestForbiddenRunIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, batch.ForbidConcurrent, nil)
		time.Sleep(2*time.Minute + 30*time.Second)
		finish(a, jobs(a)[0], batch.JobFailed)
		time.Sleep(time.Second)
		if n := len(jobs(a)); n != 2 {
			t.Errorf("%d Jobs, want another one at once", n)
		}
	})
}

func TestSuspendedAndLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, batch.AllowConcurrent, func(cj *batch.CronJob) {
			cj.Spec.Suspend = new(true)
			cj.Spec.Schedule = "0 * * * *"
			cj.Spec.StartingDeadlineSeconds = new(int64(100))
		})
		time.Sleep(2*time.Hour + 30*time.Minute)
		if n := len(jobs(a)); n != 0 {
			t.Fatalf("%d Jobs while suspended", n)
		}
		cj := object.Clone(get(t, a))
		cj.Spec.Suspend = new(false)
		a.Put(cj)
		time.Sleep(time.Minute)
		if n := len(jobs(a)); n != 0 {
			t.Errorf("%d Jobs for a time longer ago than the deadline", n)
		}
		time.Sleep(time.Hour)
		if n := len(jobs(a)); n != 1 {
			t.Errorf("%d Jobs, want 1", n)
		}
	})
}

// A schedule that names no day that exists is said to be wrong, and nothing waits for it.
func TestScheduleThatNeverComes(t *testing.T) {
	cj := &batch.CronJob{Spec: batch.CronJobSpec{Schedule: "59 23 31 2 *", TimeZone: new("Etc/UTC")}}
	got := plan(cj, nil, time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC))
	if len(got.notes) != 1 || got.notes[0].Reason != "InvalidSchedule" || len(got.changes) != 0 || got.again != control.Done {
		t.Errorf("notes %+v, %d changes, again %v; want InvalidSchedule alone", got.notes, len(got.changes), got.again)
	}
	cj.Spec.Suspend = new(true)
	if got := plan(cj, nil, time.Now()); len(got.notes) != 0 {
		t.Errorf("suspended, it says %+v", got.notes)
	}
}
