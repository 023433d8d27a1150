package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/object"
	"proa.dev/scheduler"
)

// background runs a component until the test ends.
func background(t testing.TB, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestRealSchedulerAndAPI binds and starts pods through the real API server, its store and the scheduler, and logs the rate.
func TestRealSchedulerAndAPI(t *testing.T) {
	bindAll(t, 200, 1000)
}

func BenchmarkBind(b *testing.B) { // one round: 5,000 nodes, 10,000 plain pods
	for b.Loop() {
		bindAll(b, 5000, 10000)
	}
}

func bindAll(t testing.TB, nodes, pods int) {
	api := apitest.Start(t)
	quiet := slog.New(slog.DiscardHandler)
	s, err := New(Deps{Client: api.Client, View: api.View(), Nodes: nodes, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	background(t, s.Run)
	<-s.Ready()
	sched, err := scheduler.New(scheduler.Deps{Client: api.Client, View: api.View(), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	background(t, sched.Run)

	if _, err := client.Create(t.Context(), api.Client, &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	begin := time.Now()
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := w; i < pods; i += 32 {
				p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("p%d", i)}, Spec: core.PodSpec{
					AutomountServiceAccountToken: new(bool),
					Containers: []core.Container{{Name: "c", Image: "img", Resources: core.ResourceRequirements{
						Requests: core.ResourceList{core.ResourceCPU: resource.MustParse("100m"), core.ResourceMemory: resource.MustParse("100Mi")}}}},
				}}
				if _, err := client.Create(ctx, api.Client, p); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	bound, running := map[object.Key]bool{}, map[object.Key]bool{}
	var allBound time.Duration
	err = client.Watch(ctx, api.View(), func(_ client.EventType, p, _ *core.Pod) {
		if p == nil {
			return
		}
		if p.Spec.NodeName != "" {
			bound[object.KeyOf(p)] = true
		}
		if p.Status.Phase == core.PodRunning {
			running[object.KeyOf(p)] = true
		}
		if len(bound) == pods && allBound == 0 {
			allBound = time.Since(begin)
		}
		if len(running) == pods {
			cancel()
		}
	})
	wg.Wait()
	if len(running) != pods {
		t.Fatalf("%d of %d pods bound, %d running: %v", len(bound), pods, len(running), err)
	}
	t.Logf("%d pods on %d nodes: created and bound in %s (%.0f per second), running in %s", pods, nodes,
		allBound.Round(time.Millisecond), float64(pods)/allBound.Seconds(), time.Since(begin).Round(time.Millisecond))
	if b, ok := t.(*testing.B); ok {
		b.ReportMetric(float64(pods)/allBound.Seconds(), "bound/s")
	}
}
