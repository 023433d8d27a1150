package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// Explanation says for every node why a pod does not fit there, or how good the node is.
type Explanation struct {
	Message string // as in the event
	Nodes   []NodeVerdict
}

// NodeVerdict is about one node.
type NodeVerdict struct {
	Node    string
	Reasons []string // none: the pod fits
	Score   int32    // if it fits; greater is better
}

// Explain judges the nodes for a pod as the scheduler would now. It waits for the loop's turn.
func (s *Scheduler) Explain(ctx context.Context, pod *core.Pod) (Explanation, error) {
	answer := make(chan Explanation, 1)
	s.inbox.send(func(time.Time) {
		k := s.classOf(pod)
		e := Explanation{Message: s.message(k)}
		k.each(s.cluster, func(n *node, v *verdict, score int32) {
			nv := NodeVerdict{Node: n.name, Score: score}
			if v != nil {
				nv.Reasons, nv.Score = v.reasons, 0
			}
			e.Nodes = append(e.Nodes, nv)
		})
		slices.SortFunc(e.Nodes, func(a, b NodeVerdict) int { return strings.Compare(a.Node, b.Node) })
		answer <- e
	})
	select {
	case e := <-answer:
		return e, nil
	case <-ctx.Done():
		return Explanation{}, fmt.Errorf("explain pod %s: %w", object.KeyOf(pod), ctx.Err())
	}
}

// each calls fn for every node with what counts there, the group's verdict included.
func (k *class) each(c *cluster, fn func(n *node, v *verdict, score int32)) {
	k.update(c)
	for _, g := range k.groups {
		if len(g.heap) > 0 {
			g.verdict, g.score = k.judgeGroup(c.nodes[g.heap[0]])
		}
	}
	for id := range k.cells {
		cl := &k.cells[id]
		if cl.group == nil {
			continue
		}
		v := cl.verdict
		if v == nil {
			v = cl.group.verdict
		}
		fn(c.nodes[id], v, cl.score+cl.group.score)
	}
}

// message is the sentence for a pod that fits nowhere, as Kubernetes words it.
func (s *Scheduler) message(k *class) string {
	text, _ := s.summary(k)
	return text
}

// summary is the message, and the causes behind it.
func (s *Scheduler) summary(k *class) (string, trouble) {
	if s.cluster.live == 0 {
		return "no nodes available to schedule pods", anything
	}
	head := fmt.Sprintf("0/%d nodes are available:", s.cluster.live)
	if p, cause := k.problem(); p != "" {
		return fmt.Sprintf("%s %s.", head, p), cause
	}
	counts := map[string]int{}
	var causes trouble
	k.each(s.cluster, func(_ *node, v *verdict, _ int32) {
		if v == nil {
			return
		}
		causes |= v.cause
		for _, r := range v.reasons {
			counts[r]++
		}
	})
	return head + " " + histogram(counts) + ".", causes
}

func histogram(counts map[string]int) string {
	lines := make([]string, 0, len(counts))
	for reason, n := range counts {
		lines = append(lines, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

// fail parks a pod that fits nowhere, makes room for it if its priority allows, and says why it waits.
func (s *Scheduler) fail(ctx context.Context, w *waiting, k *class, now time.Time) {
	text, cause := s.summary(k)
	nominated := ""
	if p, _ := k.problem(); s.cluster.live > 0 && p == "" {
		var more string
		if nominated, more = s.preempt(ctx, w, k); more != "" {
			text += " " + more
		}
	}
	if nominated != "" {
		cause |= byPreemption
	}
	s.free(k)
	s.queue.park(w, cause, now)
	s.events.Event(w.pod, core.EventTypeWarning, "FailedScheduling", "%s", text)
	pod := w.pod
	if same(pod, text, nominated) {
		return
	}
	select {
	case s.chores <- func(ctx context.Context) { s.tell(ctx, pod, text, nominated) }:
	default: // thousands wait with it: the next attempt tells
	}
}

// same says whether the pod's condition says so already.
func same(pod *core.Pod, text, nominated string) bool {
	if nominated != "" && pod.Status.NominatedNodeName != nominated {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == core.PodScheduled {
			return c.Status == core.ConditionFalse && c.Reason == core.PodReasonUnschedulable && c.Message == text
		}
	}
	return false
}

// tell writes the condition PodScheduled=False and the node where room is being made.
func (s *Scheduler) tell(ctx context.Context, pod *core.Pod, text, nominated string) {
	status := map[string]any{"conditions": []core.PodCondition{{
		Type: core.PodScheduled, Status: core.ConditionFalse, Reason: core.PodReasonUnschedulable, Message: text,
		ObservedGeneration: pod.Generation, LastTransitionTime: transition(pod),
	}}}
	if nominated != "" {
		status["nominatedNodeName"] = nominated
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		s.log.Warn("write pod condition", "err", err)
		return
	}
	t := client.TargetOf[core.Pod](object.KeyOf(pod))
	t.Sub = "status"
	_, err = s.api.Patch(ctx, t, client.Patch{Type: types.StrategicMergePatchType, Data: data}, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		s.log.Warn("write pod condition", "ns", pod.Namespace, "name", pod.Name, "err", err)
	}
}

// transition is when the pod began to wait.
func transition(pod *core.Pod) metav1.Time {
	for _, c := range pod.Status.Conditions {
		if c.Type == core.PodScheduled && c.Status == core.ConditionFalse {
			return c.LastTransitionTime
		}
	}
	return metav1.Now()
}
