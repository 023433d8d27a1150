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
			p.Spec.InitContainers = []core.Container{{Name: "i"}}
			p.Spec.Containers = []core.Container{{Name: "c"}}
			if name == "e" {
				p.Spec.Volumes = []core.Volume{{Name: "v", VolumeSource: core.VolumeSource{HostPath: &core.HostPathVolumeSource{}}}}
			}
			if name == "f" {
				p.Status.StartTime = &p.CreationTimestamp
			}
			api.Put(p)
			return p
		}
		phase := func(p *core.Pod, phase core.PodPhase, running bool) {
			s := core.PodStatus{Phase: phase, ContainerStatuses: []core.ContainerStatus{{Name: "c"}}}
			if running {
				now := metav1.Now()
				s.ContainerStatuses[0].State.Running = &core.ContainerStateRunning{StartedAt: now}
				s.InitContainerStatuses = []core.ContainerStatus{{Name: "i", State: core.ContainerState{Terminated: &core.ContainerStateTerminated{
					StartedAt: metav1.NewTime(now.Add(-500 * time.Millisecond)), FinishedAt: now,
				}}}}
			}
			w.Set(p, s, 0)
		}
		a, b, c, d, e, f := pod("a"), pod("b"), pod("c"), pod("d"), pod("e"), pod("f")
		for _, p := range []*core.Pod{a, b, c, e, f} {
			phase(p, core.PodPending, false)
		}
		time.Sleep(250 * time.Millisecond)
		w.Pulling(a.UID) // two at once: 500 ms in all
		time.Sleep(250 * time.Millisecond)
		w.Pulling(a.UID)
		w.Pulling("nobody")
		w.Pulled(a.UID)
		time.Sleep(250 * time.Millisecond)
		w.Pulled(a.UID)
		w.Pulled(a.UID) // the image was there
		time.Sleep(750 * time.Millisecond)
		phase(a, core.PodPending, false)
		phase(a, core.PodRunning, true)
		phase(a, core.PodRunning, true)
		phase(b, core.PodFailed, false) // it never ran
		w.Forget(c.UID)
		phase(d, core.PodRunning, true) // it ran before we came
		phase(e, core.PodRunning, false)
		time.Sleep(time.Second)
		phase(e, core.PodRunning, true)
		phase(f, core.PodRunning, true) // an earlier process took it
		time.Sleep(time.Second)
		var p prom.Page
		w.Page(&p)
		text := p.String()
		for _, line := range []string{
			`kubelet_pod_start_duration_seconds_bucket{le="1"} 0`, `kubelet_pod_start_duration_seconds_bucket{le="2"} 2`, "kubelet_pod_start_duration_seconds_sum 5.5",
			"kubelet_pod_start_duration_seconds_count 3", "kubelet_pod_start_total_duration_seconds_sum 6", "kubelet_pod_start_total_duration_seconds_count 2",
			"kubelet_pod_start_sli_duration_seconds_sum 1.5", "kubelet_pod_start_sli_duration_seconds_count 1", "kubelet_first_network_pod_start_sli_duration_seconds 1.5",
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
