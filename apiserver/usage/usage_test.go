package usage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"proa.dev/client"
	"proa.dev/control/controltest"
)

// world is a node n1 with a pod web, and a node n2 that is silent. What was used grows by half a second a second.
type world struct {
	view    client.View
	started time.Time
	asked   int
}

func newWorld(t *testing.T) *world {
	a := controltest.New(t)
	a.Put(&core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"a": "b"}}})
	a.Put(&core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}})
	running := core.ContainerStatus{Name: "c", State: core.ContainerState{Running: &core.ContainerStateRunning{}}}
	a.Put(&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u", Labels: map[string]string{"app": "web"}}, Spec: core.PodSpec{NodeName: "n1"},
		Status: core.PodStatus{Phase: core.PodRunning, ContainerStatuses: []core.ContainerStatus{running}}})
	a.Put(&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "unseen", UID: "x"}, Spec: core.PodSpec{NodeName: "n1"},
		Status: core.PodStatus{Phase: core.PodRunning, ContainerStatuses: []core.ContainerStatus{running}}})
	return &world{view: a.View(), started: time.Now()}
}

func (w *world) ask(_ context.Context, n *core.Node, path string) (io.ReadCloser, error) {
	if n.Name != "n1" || path != "/stats/summary?only_cpu_and_memory=true" {
		return nil, errors.New("silent")
	}
	w.asked++
	now := time.Now()
	figures := fmt.Sprintf(`"cpu":{"time":%q,"usageCoreNanoSeconds":%d},"memory":{"workingSetBytes":2097152}`, now.Format(time.RFC3339Nano), now.Sub(w.started)/2)
	return io.NopCloser(strings.NewReader(fmt.Sprintf(`{"node":{%s},"pods":[{"podRef":{"name":"web","namespace":"ns","uid":"u"},"containers":[{"name":"c","startTime":%q,%s}]}]}`,
		figures, w.started.Format(time.RFC3339Nano), figures))), nil
}

func TestUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		time.Sleep(time.Minute)
		s := New(Deps{View: w.view, Ask: w.ask, Log: slog.New(slog.DiscardHandler)})
		nodes, err := s.Nodes(t.Context(), "", "")
		if err != nil || len(nodes) != 1 {
			t.Fatalf("got %d nodes, %v; want the one that answers", len(nodes), err)
		}
		n := nodes[0].(*metrics.NodeMetrics)
		if n.Name != "n1" || n.Usage.Cpu().String() != "500m" || n.Usage.Memory().String() != "2Mi" || n.Window.Duration != time.Second || n.Labels["a"] != "b" {
			t.Errorf("node: got %+v", n)
		}
		pods, err := s.Pods(t.Context(), "ns", "")
		if err != nil || len(pods) != 1 {
			t.Fatalf("got %d pods, %v; want the one with figures", len(pods), err)
		}
		p := pods[0].(*metrics.PodMetrics)
		if p.Name != "web" || len(p.Containers) != 1 || p.Containers[0].Usage.Cpu().String() != "500m" || p.Labels["app"] != "web" {
			t.Errorf("pod: got %+v", p)
		}
		if w.asked != 2 {
			t.Errorf("the node was asked %d times, want 2: a moment apart, and not again for the pods", w.asked)
		}
		time.Sleep(30 * time.Second)
		if nodes, err := s.Nodes(t.Context(), "", "n1"); err != nil || len(nodes) != 1 || nodes[0].(*metrics.NodeMetrics).Window.Duration != 30*time.Second {
			t.Errorf("later: %+v, %v; want a window since the last reading", nodes, err)
		}
		if pods, err := s.Pods(t.Context(), "other", ""); err != nil || len(pods) != 0 {
			t.Errorf("another namespace: %d pods, %v", len(pods), err)
		}
		if w.asked != 3 {
			t.Errorf("the node was asked %d times in all, want 3", w.asked)
		}
		time.Sleep(time.Hour)
		began := time.Now()
		if _, err := s.Nodes(t.Context(), "", ""); err != nil || time.Since(began) != settle || w.asked != 5 {
			t.Errorf("after an hour: %v, took %v, asked %d times in all; want two new readings", err, time.Since(began), w.asked)
		}
	})
}

// Who gives up while a node is asked leaves nothing behind that others would take for the truth.
func TestWhoGivesUpWhileANodeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := New(Deps{View: w.view, Ask: w.ask, Log: slog.New(slog.DiscardHandler)})
		if nodes, err := s.Nodes(t.Context(), "", ""); err != nil || len(nodes) != 1 {
			t.Fatalf("%d nodes, %v", len(nodes), err)
		}
		time.Sleep(freshFor)
		ctx, cancel := context.WithCancel(t.Context())
		s.Ask = func(ctx context.Context, _ *core.Node, _ string) (io.ReadCloser, error) {
			cancel()
			return nil, ctx.Err()
		}
		if _, err := s.Nodes(ctx, "", ""); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that it was given up", err)
		}
		s.Ask = w.ask
		nodes, err := s.Nodes(t.Context(), "", "")
		if err != nil || len(nodes) != 1 || nodes[0].(*metrics.NodeMetrics).Window.Duration != freshFor {
			t.Errorf("the next: %+v, %v; want the node, since the reading before", nodes, err)
		}
	})
}

func TestWhoGivesUpIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := New(Deps{View: w.view, Ask: w.ask, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithTimeout(t.Context(), settle/2)
		defer cancel()
		if _, err := s.Nodes(ctx, "", ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		if nodes, err := s.Nodes(t.Context(), "", ""); err != nil || len(nodes) != 1 {
			t.Errorf("the next: %d nodes, %v", len(nodes), err)
		}
	})
}
