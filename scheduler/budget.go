package scheduler

import (
	policy "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/client"
)

// budget is a disruption budget as preemption sees it.
type budget struct {
	*policy.PodDisruptionBudget
	selector labels.Selector
}

// budgets are those that select something. Preemption asks for them each time that it runs: it is rare, and they change often.
func (s *Scheduler) budgets() (out []budget) {
	for _, b := range client.ListOf[policy.PodDisruptionBudget](s.view, client.Select{}) {
		sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err == nil && !sel.Empty() {
			out = append(out, budget{b, sel})
		}
	}
	return out
}

// violating is those pods that budgets do not allow to go if they all went, in their order.
func violating(budgets []budget, pods []*placed) map[*placed]bool {
	if len(budgets) == 0 {
		return nil
	}
	out, left := map[*placed]bool{}, make([]int32, len(budgets))
	for i, b := range budgets {
		left[i] = b.Status.DisruptionsAllowed
	}
	for _, p := range pods {
		for i, b := range budgets {
			_, going := b.Status.DisruptedPods[p.pod.Name] // its eviction was allowed already
			if going || b.Namespace != p.pod.Namespace || len(p.pod.Labels) == 0 || !b.selector.Matches(labels.Set(p.pod.Labels)) {
				continue
			}
			left[i]--
			out[p] = out[p] || left[i] < 0
		}
	}
	return out
}

// boolCompare orders false before true.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
