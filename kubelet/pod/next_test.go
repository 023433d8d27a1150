package pod

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/probe"
	"proa.dev/kubelet/status"
)

var update = flag.Bool("update", false, "rewrite the plans in testdata")

// TestNext runs the cases of testdata. Each file holds one pod, and for each case its state and the plan that follows.
//
//	-- pod.yaml --          spec and what else of the object matters
//	-- name of a case --    lines of state: see read
//	-- = --                 the plan
func TestNext(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if a.Files[0].Name != "pod.yaml" {
				t.Fatal("the pod comes first")
			}
			for i := 1; i+1 < len(a.Files); i += 2 {
				name, want := a.Files[i].Name, &a.Files[i+1]
				t.Run(name, func(t *testing.T) {
					s := read(t, a.Files[0].Data, string(a.Files[i].Data))
					plan := next(s)
					got := written(s, &plan)
					if *update {
						want.Data = []byte(got)
					} else if d := cmp.Diff(string(want.Data), got); d != "" {
						t.Errorf("-want +got\n%s", d)
					}
				})
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// noon is the time of every case.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// read makes a State of lines such as
//
//	volumes                                        they are made
//	sandbox s1 ready                               or gone
//	container c1 web running started               in the newest sandbox; started, failed=liveness: what the probes say
//	container c0 web exited 1 -5s                  with code 1, five seconds ago; old: of an earlier sandbox, made of another image
//	back web 20s -1m                               the back-off that was set a minute ago
//	busy start web / kill c1 30 / sandbox / volumes / cleanup
//	failed web ErrImagePull -3s 7s image           three seconds ago, again in seven
//	deleted 30 / gone / end -5s 30 Evicted / cleaned stopped / since -60s / stale -1s / phase Failed
func read(t *testing.T, pod []byte, text string) *State {
	t.Helper()
	s := &State{
		Pod: &core.Pod{}, Now: noon, Probes: map[string]probe.State{}, Back: map[string]BackOff{}, Failed: map[string]Failure{},
		Busy: Busy{Start: map[string]bool{}, Kill: map[string]int64{}, Remove: map[string]bool{}},
	}
	if err := yaml.UnmarshalStrict(pod, s.Pod); err != nil {
		t.Fatal(err)
	}
	if s.Pod.Spec.RestartPolicy == "" {
		s.Pod.Spec.RestartPolicy = core.RestartPolicyAlways
	}
	after := func(d string) time.Time {
		x, err := time.ParseDuration(d)
		if err != nil {
			t.Fatal(err)
		}
		return noon.Add(x)
	}
	number := func(n string) int64 {
		x, err := strconv.ParseInt(n, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	hash := func(name string) string {
		for _, c := range append(slices.Clone(s.Pod.Spec.InitContainers), s.Pod.Spec.Containers...) {
			if c.Name == name {
				return observe.Hash(&c)
			}
		}
		return ""
	}
	made := noon.Add(-time.Hour)
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		made = made.Add(time.Second)
		switch w[0] {
		case "volumes":
			s.Volumes = true
		case "sandbox":
			s.Runtime.SetSandbox(observe.Sandbox{ID: w[1], Ready: w[2] == "ready", Created: made})
		case "container":
			c := observe.Container{ID: w[1], Name: w[2], Created: made, Hash: hash(w[2])}
			if len(s.Runtime.Sandboxes) > 0 {
				c.Sandbox = s.Runtime.Sandboxes[0].ID
			}
			switch w[3] {
			case "running":
				c.State = observe.Running
				p := probe.State{}
				for _, x := range w[4:] {
					kind, failed := strings.CutPrefix(x, "failed=")
					switch {
					case x == "started":
						p.Started = true
					case failed:
						p.Started, p.Failed = true, &probe.Failure{Probe: kind}
					case x == "old":
						c.Sandbox = "old"
					case x == "changed":
						c.Hash = "changed"
					}
				}
				s.Probes[c.ID] = p
			case "exited":
				c.State, c.ExitCode, c.Finished = observe.Exited, int32(number(w[4])), after(w[5])
				if slices.Contains(w, "old") {
					c.Sandbox = "old"
				}
			case "created":
				c.State = observe.Created
			}
			s.Runtime.SetContainer(c)
		case "back":
			d, err := time.ParseDuration(w[2])
			if err != nil {
				t.Fatal(err)
			}
			s.Back[w[1]] = BackOff{hash(w[1]), d, after(w[3])}
		case "busy":
			switch w[1] {
			case "start":
				s.Busy.Start[w[2]] = true
			case "kill":
				s.Busy.Kill[w[2]] = number(w[3])
			case "sandbox":
				s.Busy.Sandbox = true
			case "volumes":
				s.Busy.Volumes = true
			case "cleanup":
				s.Busy.Cleanup = true
			}
		case "failed":
			f := Failure{Reason: status.Reason{Reason: w[2], Message: "because"}, At: after(w[3]), Retry: after(w[4])}
			if len(w) > 5 {
				f.Image = w[5]
			}
			if w[1] == "pod" {
				w[1] = ""
			}
			s.Failed[w[1]] = f
		case "deleted":
			now, grace := metav1.NewTime(noon), number(w[1])
			s.Pod.DeletionTimestamp, s.Pod.DeletionGracePeriodSeconds = &now, &grace
		case "gone":
			s.Gone = true
		case "end":
			s.End = &End{Since: after(w[1]), Grace: number(w[2])}
			if len(w) > 3 {
				s.End.Why = &status.Reason{Reason: w[3]}
			}
		case "cleaned":
			s.Cleaned = map[string]Cleanup{"stopped": Stopped, "removed": Removed}[w[1]]
		case "since":
			s.Since = after(w[1])
		case "stale":
			s.Stale = after(w[1])
		case "phase":
			s.Pod.Status.Phase = core.PodPhase(w[1])
		default:
			t.Fatalf("what is %q?", line)
		}
	}
	return s
}

// written writes a plan down.
func written(s *State, p *Plan) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if p.End != nil && (s.End == nil || *s.End != *p.End) {
		why := "its containers"
		if p.End.Why != nil {
			why = p.End.Why.Reason + ": " + p.End.Why.Message
		} else if s.Gone || s.Pod.DeletionTimestamp != nil {
			why = "it is deleted"
		}
		line("end within %d s: %s", p.End.Grace, why)
	}
	if p.Cancel {
		line("cancel what starts")
	}
	if p.Volumes {
		line("make volumes")
	}
	if p.Sandbox {
		line("make a sandbox")
	}
	for _, name := range p.Start {
		line("start %s", name)
	}
	for _, k := range p.Kill {
		line("kill %s (%s) within %d s: %s", k.ID, k.Name, k.Grace, k.Message)
	}
	for _, id := range p.Remove {
		line("remove %s", id)
	}
	for _, id := range p.Drop {
		line("remove sandbox %s", id)
	}
	if p.Cleanup != Nothing {
		line("clean up until %s", map[Cleanup]string{Stopped: "stopped", Removed: "removed"}[p.Cleanup])
	}
	if p.Finish {
		line("finish")
	}
	var names []string
	for name := range p.Waiting {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		line("%s waits: %s: %s", name, p.Waiting[name].Reason, p.Waiting[name].Message)
	}
	if !p.Wake.IsZero() {
		line("wake after %v", p.Wake.Sub(s.Now))
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func TestBackOff(t *testing.T) {
	b, at := BackOff{}, noon
	var waits []time.Duration
	for range 8 {
		waits = append(waits, b.until(at, "h").Sub(at))
		started := b.until(at, "h")
		b = b.next(at, "h", started, backOffMax)
		at = started.Add(time.Second)
	}
	want := []time.Duration{0, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute}
	if d := cmp.Diff(want, waits); d != "" {
		t.Error(d)
	}
	if late := b.At.Add(11 * time.Minute); !b.until(late, "h").Equal(late) || b.next(late, "h", late, backOffMax).Delay != backOffMin {
		t.Error("a container that ran for ten minutes still pays for its past")
	}
	if got := b.next(at, "h", at, 3*time.Second).Delay; got != 3*time.Second {
		t.Errorf("where 3s are the most, it waits %v", got)
	}
	if got := (BackOff{}).next(at, "h", at, 3*time.Second).Delay; got != 3*time.Second {
		t.Errorf("where 3s are the most, it begins with %v", got)
	}
	if !b.until(at, "other").Equal(at) {
		t.Error("a new image pays for the old one")
	}
}
