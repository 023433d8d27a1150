package pod

import (
	"strings"
	"sync/atomic"

	core "k8s.io/api/core/v1"

	"proa.dev/kit/prom"
)

// Page writes what the workers counted, and how many there are.
func (ws *Workers) Page(p *prom.Page) {
	ws.counts.page(p)
	ws.writeWorking(p)
	ws.writeResizes(p)
}

// The stages of a worker, as Kubernetes calls them.
var stages = [...]string{"sync", "terminating", "terminated"}

// shown is what the page tells of a worker, of which all else belongs to its own goroutine.
type shown struct {
	stage    atomic.Int32
	resizing atomic.Bool
	pending  atomic.Pointer[string] // the reason of a resize that waits, in lower case
}

// show brings it up to date.
func (w *worker) show() {
	stage := int32(0)
	if w.s.End != nil || w.s.Gone {
		stage = 1
		if w.s.Cleaned >= Stopped {
			stage = 2
		}
	}
	w.shown.stage.Store(stage)
	w.shown.resizing.Store(w.resizing != nil && w.s.End == nil)
	waits := w.pending != nil && w.s.End == nil
	if w.s.End != nil {
		w.counts.resized.wait(w.pending, "terminated")
	}
	switch old := w.shown.pending.Load(); {
	case !waits && old != nil:
		w.shown.pending.Store(nil)
	case waits && (old == nil || !strings.EqualFold(*old, w.pending.Reason.Reason)):
		reason := strings.ToLower(w.pending.Reason.Reason)
		w.shown.pending.Store(&reason)
	}
}

// writeWorking writes how many workers there are: config says whether somebody still asks for the pod.
func (ws *Workers) writeWorking(p *prom.Page) {
	type kind struct{ config, static string }
	kinds := []kind{{"desired", ""}, {"desired", "true"}, {"orphan", ""}, {"orphan", "true"}, {"runtime_only", "unknown"}}
	n := map[kind][len(stages)]int{}
	ws.mu.Lock()
	for uid, w := range ws.live {
		k := kind{"runtime_only", "unknown"}
		if pod := ws.last[uid]; pod != nil {
			k = kind{"desired", static(pod)}
			if w.gone {
				k.config = "orphan"
			}
		}
		by := n[k]
		by[w.shown.stage.Load()]++
		n[k] = by
	}
	ws.mu.Unlock()
	p.Head("kubelet_working_pods", "gauge", "[ALPHA] Pods that something is done for, by how far they are and by who asks for them.")
	for _, k := range kinds {
		for i, stage := range stages {
			p.Value(prom.Labels("lifecycle", stage, "config", k.config, "static", k.static), float64(n[k][i]))
		}
	}
}

// static is the label of a pod: "true" where it comes from a file.
func static(p *core.Pod) string {
	if source := p.Annotations["kubernetes.io/config.source"]; source != "" && source != "api" {
		return "true"
	}
	return ""
}

// writeResizes writes how many pods are resized, or wait for that.
func (ws *Workers) writeResizes(p *prom.Page) {
	var waiting prom.Counts[[2]string]
	under := 0
	ws.mu.Lock()
	for _, w := range ws.live {
		if w.shown.resizing.Load() {
			under++
		}
		if reason := w.shown.pending.Load(); reason != nil {
			waiting.Add([2]string{*reason, priorityBucket(w.held.Load())}, 1)
		}
	}
	ws.mu.Unlock()
	waiting.PageAs(p, "gauge", "kubelet_pod_pending_resizes", "[ALPHA] Pods whose resize waits, or can not be.", [2]string{"reason", "priority_bucket"})
	p.Gauge("kubelet_pod_in_progress_resizes", "[ALPHA] Pods that are being resized.", float64(under))
}

// priorityBucket is the class of a pod's priority.
func priorityBucket(pod *core.Pod) string {
	switch n := priority(pod); {
	case n >= 2_000_000_000:
		return "system-critical"
	case n >= 100_000:
		return "high"
	case n > 0:
		return "medium"
	case n == 0:
		return "normal"
	case n > -1000:
		return "low"
	}
	return "very-low"
}
