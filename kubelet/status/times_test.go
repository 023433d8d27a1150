package status

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/control/controltest"
	"proa.dev/kit/prom"
)

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := controltest.New(t)
		w := New(api.Client(), api.View(), slog.New(slog.DiscardHandler))
		controltest.Run(t, w.Run)
		pod := func(name string) *core.Pod {
			p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Second))}}
			api.Put(p)
			return p
		}
		phase := func(p *core.Pod, phase core.PodPhase) { w.Set(p, core.PodStatus{Phase: phase}, 0) }
		a, b, c, d := pod("a"), pod("b"), pod("c"), pod("d")
		for _, p := range []*core.Pod{a, b, c} {
			phase(p, core.PodPending)
		}
		time.Sleep(1500 * time.Millisecond)
		phase(a, core.PodPending)
		phase(a, core.PodRunning)
		phase(a, core.PodRunning)
		phase(b, core.PodFailed) // it never ran
		w.Forget(c.UID)
		phase(d, core.PodRunning) // it ran before we came
		time.Sleep(time.Second)
		var p prom.Page
		w.Page(&p)
		text := p.String()
		for _, line := range []string{
			`kubelet_pod_start_duration_seconds_bucket{le="1"} 0`, `kubelet_pod_start_duration_seconds_bucket{le="2"} 1`, "kubelet_pod_start_duration_seconds_sum 1.5",
			"kubelet_pod_start_duration_seconds_count 1", "kubelet_pod_start_total_duration_seconds_sum 2.5", `kubelet_pod_status_sync_duration_seconds_bucket{le="0.01"} 6`,
		} {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("there is no %s in\n%s", line, text)
			}
		}
		if len(w.waits) != 0 {
			t.Errorf("%d pods are waited for", len(w.waits))
		}
	})
}
