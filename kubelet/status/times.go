package status

import (
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kit/prom"
)

// times are how long pods and their statuses took, by Kubernetes' buckets.
type times struct {
	started *prom.Histogram // from a pod's first status to the one that says Running
	total   *prom.Histogram // the same, from the pod's creation
	written *prom.Histogram // from a status to its write
}

func newTimes() times {
	start := prom.Seconds(0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)
	return times{start.New(), start.New(), prom.Seconds(0.010, 0.050, 0.100, 0.500, 1, 5, 10, 20, 30, 45, 60).New()}
}

// follow notes when a pod comes and when it runs. w.mu is held.
func (w *Writer) follow(pod *core.Pod, phase core.PodPhase, now time.Time) {
	since, waits := w.waits[pod.UID]
	switch {
	case phase == core.PodPending && !waits:
		w.waits[pod.UID] = now
	case phase == core.PodPending:
	case waits:
		delete(w.waits, pod.UID)
		if phase == core.PodRunning {
			w.times.started.Add(int64(now.Sub(since)))
			w.times.total.Add(int64(max(now.Sub(pod.CreationTimestamp.Time), 0)))
		}
	}
}

// Page writes how long pods and their statuses took.
func (w *Writer) Page(p *prom.Page) {
	p.Head("kubelet_pod_start_duration_seconds", "histogram", "[ALPHA] From the kubelet's first look at a pod until it runs.")
	p.Histogram("", w.times.started)
	p.Head("kubelet_pod_start_total_duration_seconds", "histogram", "[ALPHA] From a pod's creation until it runs.")
	p.Histogram("", w.times.total)
	p.Head("kubelet_pod_status_sync_duration_seconds", "histogram", "[ALPHA] From the change of a pod's status until the API has it.")
	p.Histogram("", w.times.written)
}
