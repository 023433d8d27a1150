package scheduler

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// preempt looks for a node where the removal of pods of lower priority makes room for a pod, and evicts as few of them, and as
// unimportant ones, as it can. It returns that node, or a sentence on why there is none.
func (s *Scheduler) preempt(ctx context.Context, w *waiting, k *class) (nominated, message string) {
	if p := w.pod.Spec.PreemptionPolicy; p != nil && *p == core.PreemptNever {
		return "", "preemption: not eligible due to preemptionPolicy=Never."
	}
	mine := priority(w.pod)
	if n := s.cluster.byName[w.nominated]; n != nil && ending(n, mine) {
		s.cluster.place(w.pod, n.name).ghost = true
		return n.name, "preemption: not eligible due to a terminating pod on the nominated node."
	}
	w.nominated = ""
	var best *node
	var least sacrifice
	budgets := s.budgets()
	counts := map[string]int{}
	k.each(s.cluster, func(n *node, v *verdict, _ int32) {
		if v == nil {
			return
		}
		if !v.evict {
			counts["Preemption is not helpful for scheduling"]++
			return
		}
		found := s.victims(k, n, mine, budgets)
		if found.victims == nil {
			if hasLower(n, mine) {
				for _, r := range v.reasons {
					counts[r]++
				}
			} else {
				counts["No preemption victims found for incoming pod"]++
			}
			return
		}
		if best == nil || cheaper(found, least) {
			best, least = n, found
		}
	})
	if best == nil {
		return "", fmt.Sprintf("preemption: 0/%d nodes are available: %s.", s.cluster.live, histogram(counts))
	}
	for _, v := range least.victims {
		s.log.Info("preempt", "kind", "Pod", "ns", v.pod.Namespace, "name", v.pod.Name, "node", best.name, "for", object.KeyOf(w.pod).String())
		s.events.Event(v.pod, core.EventTypeNormal, "Preempted", "Preempted by pod %s on node %s", w.pod.UID, best.name)
		select {
		case s.chores <- func(ctx context.Context) { s.evict(ctx, v.pod) }: // its deletion comes back as an event
		case <-ctx.Done():
		}
	}
	w.nominated = best.name
	// A ghost keeps the room while the victims end: others see it as taken.
	s.cluster.place(w.pod, best.name).ghost = true
	return best.name, ""
}

// ending says whether victims are still on their way out.
func ending(n *node, mine int32) bool {
	for _, p := range n.pods {
		if p.pod.DeletionTimestamp != nil && priority(p.pod) < mine {
			return true
		}
	}
	return false
}

func hasLower(n *node, mine int32) bool {
	for _, p := range n.pods {
		if priority(p.pod) < mine && !p.ghost {
			return true
		}
	}
	return false
}

// sacrifice is what has to go from a node.
type sacrifice struct {
	victims []*placed // the most important first; nil: it would not help
	broken  int       // for so many of them a disruption budget does not allow it
}

// victims are the pods of a node that have to go. All lower ones are taken off for a moment, then as many as possible are put back: first
// those whose disruption budgets do not allow that they go, and of these and the others the most important first.
func (s *Scheduler) victims(k *class, n *node, mine int32, budgets []budget) sacrifice {
	var lower []*placed
	for _, p := range n.pods {
		if priority(p.pod) < mine && !p.ghost {
			lower = append(lower, p)
		}
	}
	if len(lower) == 0 {
		return sacrifice{}
	}
	slices.SortFunc(lower, importance)
	breaks := violating(budgets, lower)
	slices.SortStableFunc(lower, func(a, b *placed) int { return boolCompare(breaks[b], breaks[a]) })
	for _, p := range lower {
		s.cluster.count(p, -1)
	}
	ok := func() bool {
		k.update(s.cluster)
		cl := &k.cells[n.id]
		if cl.verdict != nil || cl.group == nil {
			return false
		}
		v, _ := k.judgeGroup(n)
		return v == nil
	}
	var out sacrifice
	if !ok() {
		for _, p := range lower {
			s.cluster.count(p, 1)
		}
		return out
	}
	for _, p := range lower {
		s.cluster.count(p, 1)
		if !ok() {
			s.cluster.count(p, -1)
			out.victims = append(out.victims, p)
			if breaks[p] {
				out.broken++
			}
		}
	}
	for _, p := range out.victims {
		s.cluster.count(p, 1)
	}
	slices.SortFunc(out.victims, importance)
	return out
}

// importance orders pods: the higher priority first, then the older.
func importance(a, b *placed) int {
	if c := cmp.Compare(priority(b.pod), priority(a.pod)); c != 0 {
		return c
	}
	return started(a).Compare(started(b))
}

func started(p *placed) time.Time {
	if t := p.pod.Status.StartTime; t != nil {
		return t.Time
	}
	return p.pod.CreationTimestamp.Time
}

// cheaper compares what has to go: the fewer budgets are broken, then the lower the highest priority, then the lower the sum, then the
// fewer, then the younger.
func cheaper(x, y sacrifice) bool {
	if x.broken != y.broken {
		return x.broken < y.broken
	}
	a, b := x.victims, y.victims
	if x, y := priority(a[0].pod), priority(b[0].pod); x != y {
		return x < y
	}
	sum := func(l []*placed) (n int64) {
		for _, p := range l {
			n += int64(priority(p.pod)) + 1<<31
		}
		return n
	}
	if x, y := sum(a), sum(b); x != y {
		return x < y
	}
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return started(a[0]).After(started(b[0]))
}

// evict deletes a victim, after it says in its status why.
func (s *Scheduler) evict(ctx context.Context, pod *core.Pod) {
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": map[string]any{"conditions": []core.PodCondition{{
		Type: core.DisruptionTarget, Status: core.ConditionTrue, Reason: core.PodReasonPreemptionByScheduler,
		Message:            Name + ": preempting to accommodate a higher priority pod",
		ObservedGeneration: pod.Generation, LastTransitionTime: metav1.Now(),
	}}}})
	if err == nil {
		t := client.TargetOf[core.Pod](object.KeyOf(pod))
		t.Sub = "status"
		_, err = s.api.Patch(ctx, t, client.Patch{Type: types.StrategicMergePatchType, Data: data}, metav1.PatchOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		s.log.Warn("mark evicted pod", "ns", pod.Namespace, "name", pod.Name, "err", err)
	}
	err = client.Delete[core.Pod](ctx, s.api, object.KeyOf(pod), pod.UID)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		s.log.Warn("evict pod", "ns", pod.Namespace, "name", pod.Name, "err", err)
	}
}
