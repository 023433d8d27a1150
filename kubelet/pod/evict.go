package pod

import (
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kubelet/status"
)

// Eviction is why the node ends a pod that the API wants to run.
type Eviction struct {
	Reason    status.Reason
	Grace     *int64             // seconds, at most what the pod has; nil: what the pod has
	Condition *core.PodCondition // to be shown; nil is none
}

// Disrupted is the condition that names the kubelet as who ended a pod.
func Disrupted(message string) *core.PodCondition {
	return &core.PodCondition{
		Type: core.DisruptionTarget, Status: core.ConditionTrue, Reason: core.PodReasonTerminationByKubelet, Message: message,
	}
}

// Evict ends a pod: it fails for the eviction's reason. The answer is closed once none of its containers runs, at once for a pod that
// the node does not run (any more).
func (ws *Workers) Evict(uid types.UID, e Eviction) <-chan struct{} {
	ended := make(chan struct{})
	w := ws.worker(uid)
	if w == nil || !w.post(func() { w.evict(e, ended) }) {
		close(ended)
	}
	return ended
}

func (w *worker) evict(e Eviction, ended chan struct{}) {
	w.evicted = append(w.evicted, ended)
	w.ends.Store(true)
	g := grace(w.s.Pod)
	if e.Grace != nil {
		g = min(g, *e.Grace)
	}
	switch end := w.s.End; {
	case end == nil:
		w.s.End = &End{Why: &e.Reason, Since: time.Now(), Grace: g, Condition: e.Condition}
	case g < end.Grace: // it ends already, and has less time now
		w.s.End = &End{Why: end.Why, Since: end.Since, Grace: g, Condition: end.Condition}
	}
}
