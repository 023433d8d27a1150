package job

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

var key = object.Key{Namespace: "default", Name: "work"}

func newJob(change func(*batch.JobSpec)) *batch.Job {
	j := &batch.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "work"},
		Spec: batch.JobSpec{
			Parallelism: new(int32(1)), Completions: new(int32(1)), BackoffLimit: new(int32(6)),
			CompletionMode: new(batch.NonIndexedCompletion),
			Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{"job": "work"}},
			Template: core.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"job": "work"}},
				Spec:       core.PodSpec{RestartPolicy: core.RestartPolicyNever, Containers: []core.Container{{Name: "c"}}},
			},
		},
	}
	change(&j.Spec)
	return j
}

// world runs the controller, and pods that end a second after they run, with the exit code that exit says; -1 is never.
type world struct {
	*controltest.API
	t       *testing.T
	exit    func(p *core.Pod) int32
	started []string // index of each pod that was made, with its second
	history []string // condition types in the order in which they came
}

func newWorld(t *testing.T, exit func(p *core.Pod) int32) *world {
	w := &world{API: controltest.New(t), t: t, exit: exit}
	w.Serve(&batch.Job{}, &core.Pod{})
	c, err := New(control.Deps{Client: w.Client(), View: w.View()})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	controltest.Run(t, c.Run)
	controltest.Run(t, (&controltest.Kubelet{API: w.API, Delay: time.Second, Seen: func(e client.EventType, p *core.Pod) {
		if e == client.Added {
			w.started = append(w.started, fmt.Sprintf("%d@%d", indexOf(p), int(time.Since(begin).Seconds())))
		}
		if e == client.Modified && p.Status.Phase == core.PodRunning && p.DeletionTimestamp == nil {
			time.AfterFunc(time.Second, func() { w.end(object.KeyOf(p)) })
		}
	}}).Run)
	controltest.Run(t, func(ctx context.Context) error {
		return client.Watch[batch.Job](ctx, w.View(), func(_ client.EventType, j, _ *batch.Job) {
			if j == nil {
				return
			}
			for _, c := range j.Status.Conditions {
				if s := string(c.Type) + "=" + string(c.Status); !slices.Contains(w.history, s) {
					w.history = append(w.history, s)
				}
			}
		})
	})
	return w
}

func (w *world) end(k object.Key) {
	p, ok := client.Lookup[core.Pod](w.View(), k)
	if !ok || control.Finished(p) {
		return
	}
	code := w.exit(p)
	if code < 0 {
		return
	}
	p = object.Clone(p)
	p.Status.Phase = core.PodSucceeded
	if code > 0 {
		p.Status.Phase = core.PodFailed
	}
	p.Status.Conditions = nil
	p.Status.ContainerStatuses = []core.ContainerStatus{{Name: "c", State: core.ContainerState{
		Terminated: &core.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.Now()},
	}}}
	w.Put(p)
}

func (w *world) job() *batch.Job {
	w.t.Helper()
	j, ok := client.Lookup[batch.Job](w.View(), key)
	if !ok {
		w.t.Fatal("the Job is gone")
	}
	return j
}

// wantEnd checks how the Job ended, that the numbers of the end are right, and that no pod is held.
func (w *world) wantEnd(typ batch.JobConditionType, reason string, succeeded, failed int32) {
	w.t.Helper()
	st := w.job().Status
	c := condition(&st, typ)
	if !isTrue(c) || c.Reason != reason {
		w.t.Fatalf("conditions %+v, want %s %s", st.Conditions, typ, reason)
	}
	if st.Succeeded != succeeded || st.Failed != failed || st.Active != 0 || *st.Ready != 0 || *st.Terminating != 0 {
		w.t.Errorf("succeeded %d, failed %d, active %d, ready %d, terminating %d; want %d and %d, then 0",
			st.Succeeded, st.Failed, st.Active, *st.Ready, *st.Terminating, succeeded, failed)
	}
	first := "SuccessCriteriaMet=True Complete=True"
	if typ == batch.JobFailed {
		first = "FailureTarget=True Failed=True"
	}
	if got := strings.Join(w.history, " "); !strings.HasSuffix(got, first) {
		w.t.Errorf("conditions came as %s, want %s", got, first)
	}
	if (st.CompletionTime != nil) != (typ == batch.JobComplete) {
		w.t.Errorf("completionTime %v", st.CompletionTime)
	}
	for _, p := range client.ListOf[core.Pod](w.View(), client.Select{}) {
		if hasFinalizer(p) {
			w.t.Errorf("pod %s still has its finalizer", p.Name)
		}
	}
}

func always(code int32) func(*core.Pod) int32 { return func(*core.Pod) int32 { return code } }

func TestCompletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, always(0))
		w.Put(newJob(func(s *batch.JobSpec) { s.Completions, s.Parallelism = new(int32(25)), new(int32(10)) }))
		w.Sleep(time.Minute)
		w.wantEnd(batch.JobComplete, "CompletionsReached", 25, 0)
		if len(w.started) != 25 {
			t.Errorf("%d pods, want 25", len(w.started))
		}
	})
}

func TestWorkQueueEndsWithTheLastPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := newWorld(t, func(*core.Pod) int32 { n++; return int32(n % 2) })
		w.Put(newJob(func(s *batch.JobSpec) { s.Completions, s.Parallelism = nil, new(int32(4)) }))
		w.Sleep(time.Minute)
		w.wantEnd(batch.JobComplete, "CompletionsReached", 2, 2)
	})
}

func TestBackoffLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, always(1))
		w.Put(newJob(func(s *batch.JobSpec) { s.BackoffLimit = new(int32(2)) }))
		w.Sleep(5 * time.Minute)
		w.wantEnd(batch.JobFailed, "BackoffLimitExceeded", 0, 3)
		if diff := cmp.Diff([]string{"-1@0", "-1@12", "-1@34"}, w.started); diff != "" {
			t.Errorf("pods by second (-want +got):\n%s", diff)
		}
	})
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, always(-1))
		w.Put(newJob(func(s *batch.JobSpec) {
			s.Parallelism, s.Completions, s.ActiveDeadlineSeconds = new(int32(3)), new(int32(3)), new(int64(30))
		}))
		w.Sleep(time.Minute)
		w.wantEnd(batch.JobFailed, "DeadlineExceeded", 0, 3)
	})
}

func TestIndexed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := map[int]bool{}
		w := newWorld(t, func(p *core.Pod) int32 {
			if ix := indexOf(p); ix == 2 && !failed[ix] {
				failed[ix] = true
				return 1
			}
			return 0
		})
		w.Put(newJob(func(s *batch.JobSpec) {
			s.CompletionMode, s.Completions, s.Parallelism = new(batch.IndexedCompletion), new(int32(5)), new(int32(5))
		}))
		w.Sleep(500 * time.Millisecond)
		p := client.ListOf[core.Pod](w.View(), client.Select{})[0]
		if p.Spec.Hostname != "work-0" || p.Labels[batch.JobCompletionIndexAnnotation] != "0" || p.Spec.Containers[0].Env[0].Name != "JOB_COMPLETION_INDEX" ||
			!strings.HasPrefix(p.Name, "work-0-") {
			t.Errorf("pod of index 0: %s %+v %+v", p.Name, p.Labels, p.Spec)
		}
		w.Sleep(time.Minute)
		w.wantEnd(batch.JobComplete, "CompletionsReached", 5, 1)
		if got := w.job().Status.CompletedIndexes; got != "0-4" {
			t.Errorf("completedIndexes %q", got)
		}
	})
}

func TestBackoffLimitPerIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(p *core.Pod) int32 { return int32(indexOf(p) % 2) })
		w.Put(newJob(func(s *batch.JobSpec) {
			s.CompletionMode, s.Completions, s.Parallelism = new(batch.IndexedCompletion), new(int32(4)), new(int32(4))
			s.BackoffLimitPerIndex, s.BackoffLimit = new(int32(1)), new(int32(1<<31-1))
		}))
		w.Sleep(5 * time.Minute)
		w.wantEnd(batch.JobFailed, "FailedIndexes", 2, 4)
		st := w.job().Status
		if st.CompletedIndexes != "0,2" || *st.FailedIndexes != "1,3" {
			t.Errorf("completed %q, failed %q", st.CompletedIndexes, *st.FailedIndexes)
		}
		if len(w.started) != 6 {
			t.Errorf("pods %v, want one more for each odd index", w.started)
		}
	})
}

func TestMaxFailedIndexes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, always(1))
		w.Put(newJob(func(s *batch.JobSpec) {
			s.CompletionMode, s.Completions, s.Parallelism = new(batch.IndexedCompletion), new(int32(4)), new(int32(2))
			s.BackoffLimitPerIndex, s.BackoffLimit, s.MaxFailedIndexes = new(int32(0)), new(int32(1<<31-1)), new(int32(1))
		}))
		w.Sleep(5 * time.Minute)
		st := w.job().Status
		if c := condition(&st, batch.JobFailed); !isTrue(c) || c.Reason != "MaxFailedIndexesExceeded" {
			t.Errorf("conditions %+v", st.Conditions)
		}
	})
}

func TestFailurePolicy(t *testing.T) {
	rule := func(action batch.PodFailurePolicyAction, codes ...int32) batch.PodFailurePolicyRule {
		return batch.PodFailurePolicyRule{Action: action, OnExitCodes: &batch.PodFailurePolicyOnExitCodesRequirement{
			Operator: batch.PodFailurePolicyOnExitCodesOpIn, Values: codes,
		}}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, always(42))
		w.Put(newJob(func(s *batch.JobSpec) {
			s.PodFailurePolicy = &batch.PodFailurePolicy{Rules: []batch.PodFailurePolicyRule{rule(batch.PodFailurePolicyActionFailJob, 42)}}
		}))
		w.Sleep(time.Minute)
		w.wantEnd(batch.JobFailed, "PodFailurePolicy", 0, 1)
		st := w.job().Status
		c := condition(&st, batch.JobFailed)
		if !strings.Contains(c.Message, "failed with exit code 42 matching FailJob rule at index 0") {
			t.Errorf("message %q", c.Message)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := newWorld(t, func(*core.Pod) int32 {
			if n++; n <= 3 {
				return 7
			}
			return 0
		})
		w.Put(newJob(func(s *batch.JobSpec) {
			s.BackoffLimit = new(int32(0))
			s.PodFailurePolicy = &batch.PodFailurePolicy{Rules: []batch.PodFailurePolicyRule{rule(batch.PodFailurePolicyActionIgnore, 7)}}
		}))
		w.Sleep(5 * time.Minute)
		w.wantEnd(batch.JobComplete, "CompletionsReached", 1, 0)
	})
}

// A failure that the policy ignores delays the next pod, but only once, however often it is looked at before its pod is let go.
func TestIgnoredFailureDelaysOnce(t *testing.T) {
	job := newJob(func(s *batch.JobSpec) {
		s.PodFailurePolicy = &batch.PodFailurePolicy{Rules: []batch.PodFailurePolicyRule{{
			Action:          batch.PodFailurePolicyActionIgnore,
			OnPodConditions: []batch.PodFailurePolicyOnPodConditionsPattern{{Type: core.DisruptionTarget, Status: core.ConditionTrue}},
		}}}
	})
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "work-a", UID: "a", Finalizers: []string{batch.JobTrackingFinalizer}}, Status: core.PodStatus{
		Phase: core.PodFailed, Conditions: []core.PodCondition{{Type: core.DisruptionTarget, Status: core.ConditionTrue}},
	}}
	now := time.Unix(1_700_000_000, 0)
	first := plan(job, []*core.Pod{p}, record{}, now)
	again := plan(job, []*core.Pod{p}, first.record, now)
	if first.record.failures != 1 || again.record.failures != 1 {
		t.Errorf("got %d failures, then %d; want 1 and 1", first.record.failures, again.record.failures)
	}
	if gone := plan(job, nil, again.record, now); gone.record.failures != 1 || len(gone.record.ignored) != 0 {
		t.Errorf("got %+v after the pod is gone, want one failure and none ignored", gone.record)
	}
}

func TestSuccessPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(p *core.Pod) int32 {
			if indexOf(p) == 0 {
				return 0
			}
			return -1
		})
		w.Put(newJob(func(s *batch.JobSpec) {
			s.CompletionMode, s.Completions, s.Parallelism = new(batch.IndexedCompletion), new(int32(3)), new(int32(3))
			s.SuccessPolicy = &batch.SuccessPolicy{Rules: []batch.SuccessPolicyRule{{SucceededIndexes: new("0")}}}
		}))
		w.Sleep(time.Minute)
		w.wantEnd(batch.JobComplete, "SuccessPolicy", 1, 0)
	})
}

func TestSuspendAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, always(-1))
		w.Put(newJob(func(s *batch.JobSpec) {
			s.Parallelism, s.Completions, s.ActiveDeadlineSeconds = new(int32(2)), new(int32(2)), new(int64(30))
		}))
		w.Sleep(5 * time.Second)
		suspend := func(v bool) {
			j := object.Clone(w.job())
			j.Spec.Suspend = &v
			if _, err := client.Update(t.Context(), w.Client(), j); err != nil {
				t.Fatal(err)
			}
			w.Sleep(40 * time.Second)
		}
		suspend(true)
		st := w.job().Status
		if !isTrue(condition(&st, batch.JobSuspended)) || st.StartTime != nil || st.Active != 0 || st.Failed != 0 {
			t.Errorf("suspended: %+v", st)
		}
		if n := len(client.ListOf[core.Pod](w.View(), client.Select{})); n != 0 {
			t.Errorf("%d pods are left", n)
		}
		w.exit = always(0)
		suspend(false)
		w.wantEnd(batch.JobComplete, "CompletionsReached", 2, 0)
	})
}

func TestCountsAreExactWhateverFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(p *core.Pod) int32 { return int32(p.Name[len(p.Name)-1]) % 2 })
		n := 0
		w.Refuse(func(verb string, tg client.Target, _ object.Object) error {
			if n++; tg.Resource.Resource != "events" && n%3 != 0 {
				return fmt.Errorf("try again")
			}
			return nil
		})
		w.Put(newJob(func(s *batch.JobSpec) {
			s.Completions, s.Parallelism, s.BackoffLimit = new(int32(20)), new(int32(5)), new(int32(1000))
		}))
		w.Sleep(48 * time.Hour)
		st := w.job().Status
		succeeded, failed := int32(0), int32(0)
		for _, p := range client.ListOf[core.Pod](w.View(), client.Select{}) {
			switch p.Status.Phase {
			case core.PodSucceeded:
				succeeded++
			case core.PodFailed:
				failed++
			}
		}
		if !isTrue(condition(&st, batch.JobComplete)) || st.Succeeded != succeeded || st.Failed != failed || succeeded != 20 {
			t.Errorf("status succeeded %d, failed %d; there are %d and %d; conditions %+v", st.Succeeded, st.Failed, succeeded, failed, st.Conditions)
		}
	})
}

func TestFinishedJobGoesAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, always(0))
		w.Put(newJob(func(s *batch.JobSpec) { s.TTLSecondsAfterFinished = new(int32(100)) }))
		w.Sleep(90 * time.Second)
		w.wantEnd(batch.JobComplete, "CompletionsReached", 1, 0)
		w.Sleep(20 * time.Second)
		if j := w.job(); j.DeletionTimestamp == nil { // in the foreground: ownergc does the rest
			t.Error("the Job is not being deleted")
		}
	})
}

func TestPodsOfADeletedJobAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, always(-1))
		w.Put(newJob(func(s *batch.JobSpec) {}))
		w.Sleep(5 * time.Second)
		w.Remove(w.job())
		w.Sleep(5 * time.Second)
		for _, p := range client.ListOf[core.Pod](w.View(), client.Select{}) {
			if hasFinalizer(p) {
				t.Errorf("pod %s still has its finalizer", p.Name)
			}
		}
	})
}

func TestIntervals(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "0": "0", "0,1": "0,1", "0,1,2": "0-2", "7,2-4,3,5": "2-5,7", "1-3,x,-1,9-8,100": "1-3", "8-200": "8,9",
	} {
		if got := parseIntervals(in, 10).String(); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	s := parseIntervals("0,2-4,7", 10)
	for n, want := range []bool{true, false, true, true, true, false, false, true, false} {
		if s.has(n) != want {
			t.Errorf("has(%d) is %v", n, !want)
		}
	}
}

func FuzzIntervals(f *testing.F) {
	f.Add("0,2-4,7", 10)
	f.Add("-,--,1-", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		a := parseIntervals(s, min(limit, 1000))
		if b := parseIntervals(a.String(), min(limit, 1000)); !cmp.Equal(a, b) {
			t.Errorf("%q: %v, then %v", s, a, b)
		}
	})
}
