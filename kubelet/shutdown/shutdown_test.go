package shutdown

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kubelet/pod"
	"proa.dev/kubelet/shutdown/logindtest"
)

func podOf(name string, priority int32, phase core.PodPhase) *core.Pod {
	return &core.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: core.PodSpec{Priority: &priority}, Status: core.PodStatus{Phase: phase}}
}

func TestPlan(t *testing.T) {
	pods := []*core.Pod{podOf("low", -5, core.PodRunning), podOf("usual", 0, core.PodRunning), podOf("better", 1000, core.PodPending), podOf("best", critical, core.PodRunning),
		podOf("top", critical+1000, core.PodRunning), podOf("done", 0, core.PodSucceeded), podOf("failed", critical, core.PodFailed)}
	pods = append(pods, &core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "plain"}})
	for _, tc := range []struct {
		name    string
		periods []Period
		pods    []*core.Pod
		want    string
	}{
		{"two periods", Periods(30*time.Second, 10*time.Second), pods, "0/20: low usual better plain; 2000000000/10: best top"},
		{"the example of the documentation", []Period{{100000, 10}, {10000, 180}, {1000, 120}, {0, 60}}, []*core.Pod{podOf("a", 100000, ""), podOf("b", 50000, ""), podOf("c", 9999, ""), podOf("d", 1000, ""), podOf("e", 999, "")},
			"0/60: e; 1000/120: c d; 10000/180: b; 100000/10: a"},
		{"groups without pods are left out", []Period{{10, 5}, {20, 6}, {30, 7}}, []*core.Pod{podOf("a", 1, ""), podOf("b", 30, "")}, "10/5: a; 30/7: b"},
		{"nothing is critical", Periods(30*time.Second, 0), pods[:4], "0/30: low usual better; 2000000000/0: best"},
		{"no time", Periods(0, 0), nil, ""},
		{"more for some than for all", Periods(10*time.Second, 20*time.Second), nil, ""},
	} {
		var got []string
		for _, g := range plan(tc.periods, tc.pods) {
			var names []string
			for _, p := range g.pods {
				names = append(names, p.Name)
			}
			got = append(got, fmt.Sprintf("%d/%d: %s", g.Priority, g.Seconds, strings.Join(names, " ")))
		}
		if text := strings.Join(got, "; "); text != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, text, tc.want)
		}
	}
}

// node is one whose pods end when they are told to, but for the stubborn ones.
type node struct {
	mu       sync.Mutex // guards all below
	pods     []*core.Pod
	stubborn string
	story    []string
	unmounts time.Time // before, pod "slow" has volumes
}

func (n *node) tell(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.story = append(n.story, fmt.Sprintf(format, args...))
}

func (n *node) told() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.story)
}

func (n *node) Active() []*core.Pod { return n.pods }

func (n *node) Evict(uid types.UID, e pod.Eviction) <-chan struct{} {
	c := e.Condition
	n.tell("%s ends in %d s: %s, %s, %s %s %s", uid, *e.Grace, e.Reason.Reason, e.Reason.Message, c.Type, c.Reason, c.Message)
	ended := make(chan struct{})
	if string(uid) != n.stubborn {
		close(ended)
	}
	return ended
}

func start(t *testing.T, n *node, l *logindtest.Logind, periods ...Period) *Manager {
	t.Helper()
	var m *Manager
	m = New(Deps{Config: Config{Periods: periods, Bus: l.Address, Conf: l.Conf}, Pods: n, State: filepath.Join(filepath.Dir(l.Conf), "state"), Mounts: n.mounts, Changed: func() { n.tell("node: %q", m.Down()) },
		Note: func(text string) { n.tell("event: %s", text) }, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("Run: %v", err)
		}
	})
	return m
}

func (n *node) mounts(uid types.UID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return uid == "slow" && time.Now().Before(n.unmounts)
}

const words = ": Terminated, Pod was terminated in response to imminent node shutdown., DisruptionTarget TerminationByKubelet Pod was terminated in response to imminent node shutdown."

func TestShutdown(t *testing.T) {
	n := &node{stubborn: "b", pods: []*core.Pod{podOf("system", critical, core.PodRunning), podOf("a", 0, core.PodRunning), podOf("b", 0, core.PodRunning)}}
	l := logindtest.New(t, 5*time.Second)
	m := start(t, n, l, Period{0, 1}, Period{critical, 3})
	l.Lock()
	if !l.Held(0) || m.Refuse(nil) != nil {
		t.Fatal("the lock is not held, or pods are refused already")
	}
	began := time.Now()
	l.Shutdown(true)
	if l.Held(20 * time.Second) {
		t.Fatal("the machine waits for 20 s")
	}
	if took := time.Since(began); took < time.Second || took > 3*time.Second {
		t.Errorf("took %v, want one second for the one that does not end", took)
	}
	if r := m.Refuse(nil); r == nil || r.Reason != "NodeShutdown" || r.Message != "Pod was rejected as the node is shutting down." {
		t.Errorf("refused: %+v", r)
	}
	want := []string{"event: Shutdown manager detected shutdown event", `node: "node is shutting down"`, "a ends in 1 s" + words, "b ends in 1 s" + words, "system ends in 3 s" + words}
	if got := n.told(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	next := New(Deps{State: m.State, Log: m.Log}) // of the life after the shutdown
	for _, m := range []*Manager{m, next} {
		if from, to := m.Times(); to.Sub(from) < time.Second || from.Before(began.Add(-time.Second)) {
			t.Errorf("from %v to %v", from, to)
		}
	}
	l.Shutdown(false)
	l.Lock()
	if !l.Held(0) || m.Refuse(nil) != nil {
		t.Error("called off: there is no lock, or pods are refused still")
	}
	if got := n.told(); !slices.Equal(got[len(want):], []string{"event: Shutdown manager detected shutdown cancellation", `node: ""`}) {
		t.Errorf("called off: %s", got[len(want):])
	}
}

func TestLogindLearnsHowLongItMayTake(t *testing.T) {
	n := &node{}
	l := logindtest.New(t, 5*time.Second)
	start(t, n, l, Periods(40*time.Second, 10*time.Second)...)
	l.Lock()
	if got := l.Calls(); !slices.Equal(got, []string{"Hello", "Get", "KillUnit", "Get", "AddMatch", "Inhibit"}) {
		t.Errorf("called %s", got)
	}
	l.Drop() // a new bus
	l.Lock()
	for _, nonsense := range [][]any{{}, {"yes"}, {int32(1)}} {
		if err := l.Signal(nonsense...); err != nil {
			t.Fatal(err)
		}
	}
	l.Shutdown(true)
	if l.Held(20 * time.Second) {
		t.Error("the lock is held for 20 s, without pods")
	}
}

// A group is over when its volumes are, too.
func TestVolumesAreWaitedFor(t *testing.T) {
	n := &node{pods: []*core.Pod{podOf("driver", critical, core.PodRunning), podOf("slow", 0, core.PodRunning)}, unmounts: time.Now().Add(time.Second)}
	l := logindtest.New(t, time.Minute)
	start(t, n, l, Period{0, 10}, Period{critical, 10})
	l.Lock()
	l.Shutdown(true)
	if l.Held(30*time.Second) || time.Now().Before(n.unmounts) {
		t.Error("it did not wait, or too long")
	}
	if got := n.told(); len(got) != 4 || !strings.HasPrefix(got[2], "slow") || !strings.HasPrefix(got[3], "driver") {
		t.Errorf("%s", got)
	}
}
