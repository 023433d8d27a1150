package pod

import (
	"cmp"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"

	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
)

// victims are the pods that have to go so that a critical pod fits, as few and as unimportant as possible; nil if that is of no help.
func (r *Rules) victims(pod *core.Pod, others []*core.Pod, node *core.Node) []*core.Pod {
	var can []*core.Pod
	for _, o := range others {
		if !spec.Critical(o) && priority(o) < priority(pod) || !spec.Critical(o) && spec.Critical(pod) && priority(pod) < 2_000_000_000 {
			can = append(can, o)
		}
	}
	class := func(p *core.Pod) int {
		return slices.Index([]core.PodQOSClass{core.PodQOSBestEffort, core.PodQOSBurstable, core.PodQOSGuaranteed}, spec.QOS(p))
	}
	slices.SortStableFunc(can, func(a, b *core.Pod) int {
		return cmp.Or(cmp.Compare(priority(a), priority(b)), cmp.Compare(class(a), class(b)))
	})
	without := func(gone []*core.Pod) []*core.Pod {
		return slices.DeleteFunc(slices.Clone(others), func(p *core.Pod) bool { return slices.Contains(gone, p) })
	}
	fits := func(gone []*core.Pod) bool {
		return r.admit(pod, without(gone), node) == nil
	}
	var gone []*core.Pod
	for _, p := range can {
		if gone = append(gone, p); fits(gone) {
			break
		}
	}
	if !fits(gone) {
		return nil
	}
	for i := len(gone) - 1; i >= 0; i-- { // who need not go after all, the most important first
		if less := slices.Delete(slices.Clone(gone), i, i+1); fits(less) {
			gone = less
		}
	}
	return gone
}

// outOf says whether a pod was refused because the node has too little of something.
func outOf(r *status.Reason) bool { return strings.HasPrefix(r.Reason, "OutOf") }

// preempt makes room for a critical pod. ws.mu is held. It is false if nothing could be done.
func (ws *Workers) preempt(pod *core.Pod, no *status.Reason) bool {
	if !spec.Critical(pod) || !outOf(no) {
		return false
	}
	gone := ws.Rules.victims(pod, ws.others(pod.UID), ws.node())
	for _, p := range gone {
		const message = "Preempted in order to admit critical pod"
		ws.Events.Event(p, core.EventTypeWarning, "Preempting", message)
		why := Eviction{Reason: status.Reason{Reason: "Preempting", Message: message}, Condition: Disrupted("Pod was preempted by Kubelet to accommodate a critical pod.")}
		ws.counts.preempted.Add([1]string{strings.TrimPrefix(no.Reason, "OutOf")}, 1)
		w := ws.live[p.UID]
		w.ends.Store(true)
		w.void.Store(true)
		w.post(func() { w.evict(why, make(chan struct{})) })
	}
	return len(gone) > 0
}
