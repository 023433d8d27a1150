package status

import (
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/spec"
)

// times are how long pods and their statuses took, by Kubernetes' buckets.
type times struct {
	started *prom.Histogram // from a pod's first status to the one that says Running
	total   *prom.Histogram // from a pod's creation until the API knows that all its containers run
	sli     *prom.Histogram // the same without the time for images and init containers, of pods without volumes that last
	written *prom.Histogram // from a status to its write
	first   time.Duration   // the sli of the first pod with a network of its own; 0: there was none
}

func newTimes() times {
	start := prom.Seconds(0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)
	return times{
		started: start.New(), total: start.New(), sli: start.New(),
		written: prom.Seconds(0.010, 0.050, 0.100, 0.500, 1, 5, 10, 20, 30, 45, 60).New(),
	}
}

// start is a pod on its way.
type start struct {
	since time.Time
	fresh bool          // no kubelet has looked at the pod before
	ran   bool          // started has it
	pulls []time.Time   // when pulls of images began that have not ended, the oldest first
	until time.Time     // when the last pull ended
	spent time.Duration // with one pull at least
}

// follow notes when a pod comes and when it runs. w.mu is held.
func (w *Writer) follow(pod *core.Pod, s *core.PodStatus, now time.Time) {
	since, waits := w.waits[pod.UID], w.waits[pod.UID] != nil
	switch {
	case s.Phase == core.PodPending && !waits:
		w.waits[pod.UID] = &start{since: now, fresh: pod.Status.StartTime.IsZero()}
	case s.Phase == core.PodPending || !waits || since.ran:
	case s.Phase != core.PodRunning:
		delete(w.waits, pod.UID)
	default:
		since.ran = true
		w.times.started.Add(int64(now.Sub(since.since)))
		if !since.fresh {
			delete(w.waits, pod.UID)
		}
	}
	if waits && (s.Phase == core.PodFailed || s.Phase == core.PodSucceeded) {
		delete(w.waits, pod.UID)
	}
}

// runs notes that the API has a status. w.mu is held.
func (w *Writer) runs(pod *core.Pod, s *core.PodStatus, now time.Time) {
	p := w.waits[pod.UID]
	if p == nil || !p.ran || !allRun(s) {
		return
	}
	delete(w.waits, pod.UID)
	took := max(now.Sub(pod.CreationTimestamp.Time), 0)
	w.times.total.Add(int64(took))
	if lasting(pod) {
		return
	}
	took = max(took-p.spent-initialised(pod, s), 0)
	w.times.sli.Add(int64(took))
	if w.times.first == 0 && !pod.Spec.HostNetwork {
		w.times.first = max(took, 1)
	}
}

func allRun(s *core.PodStatus) bool {
	for i := range s.ContainerStatuses {
		if r := s.ContainerStatuses[i].State.Running; r == nil || r.StartedAt.IsZero() {
			return false
		}
	}
	return true
}

// lasting says whether a pod has volumes that are more than a copy of objects, or a directory of its own.
func lasting(pod *core.Pod) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Secret == nil && v.ConfigMap == nil && v.DownwardAPI == nil && v.EmptyDir == nil && v.Projected == nil {
			return true
		}
	}
	return false
}

// initialised is how long the pod's init containers ran, those that stay excepted.
func initialised(pod *core.Pod, s *core.PodStatus) (sum time.Duration) {
	for i := range s.InitContainerStatuses {
		c, _ := spec.FindContainer(pod, s.InitContainerStatuses[i].Name)
		if t := s.InitContainerStatuses[i].State.Terminated; t != nil && c != nil && !spec.Sidecar(c) {
			sum += max(t.FinishedAt.Sub(t.StartedAt.Time), 0)
		}
	}
	return sum
}

// Pulling notes that an image is being pulled for a pod, Pulled that one has come, or is there.
func (w *Writer) Pulling(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.waits[uid]; p != nil {
		p.pulls = append(p.pulls, time.Now())
	}
}

// Pulled ends the oldest of the pulls. What several took at the same time counts once.
func (w *Writer) Pulled(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.waits[uid]
	if p == nil || len(p.pulls) == 0 {
		return
	}
	from, now := p.pulls[0], time.Now()
	if from.Before(p.until) {
		from = p.until
	}
	p.pulls, p.until, p.spent = p.pulls[1:], now, p.spent+now.Sub(from)
}

// Page writes how long pods and their statuses took.
func (w *Writer) Page(p *prom.Page) {
	p.Head("kubelet_pod_start_duration_seconds", "histogram", "[ALPHA] From the kubelet's first look at a pod until it runs.")
	p.Histogram("", w.times.started)
	p.Head("kubelet_pod_start_total_duration_seconds", "histogram", "[ALPHA] From a pod's creation until the API knows that it runs.")
	p.Histogram("", w.times.total)
	p.Head("kubelet_pod_start_sli_duration_seconds", "histogram", "[ALPHA] The same without what images and init containers took, of pods without volumes that last.")
	p.Histogram("", w.times.sli)
	w.mu.Lock()
	first := w.times.first
	w.mu.Unlock()
	p.Gauge("kubelet_first_network_pod_start_sli_duration_seconds", "[INTERNAL] The same of the first pod with a network of its own; 0: there was none.", first.Seconds())
	p.Head("kubelet_pod_status_sync_duration_seconds", "histogram", "[ALPHA] From the change of a pod's status until the API has it.")
	p.Histogram("", w.times.written)
}
