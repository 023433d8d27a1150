package scheduler

import (
	"testing"
	"testing/synctest"

	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// Of two pods it is the less important one that goes, unless its budget does not allow that.
func TestPreemptionHeedsBudgets(t *testing.T) {
	for name, allowed := range map[string]int32{"a1": 1, "a2": 0} {
		inWorld(t, func(t *testing.T, w *world) {
			guarded := func(p *core.Pod) { p.Labels = map[string]string{"guarded": "yes"} }
			b := &policy.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}, Spec: policy.PodDisruptionBudgetSpec{
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"guarded": "yes"}}}}
			b.Status.DisruptionsAllowed = allowed
			w.Serve(b)
			w.Put(b, mkNode("a"), mkPod("a1", asks("2", "1Gi"), on("a"), withPriority(5), guarded), mkPod("a2", asks("2", "1Gi"), on("a"), withPriority(10)))
			synctest.Wait()
			w.Put(mkPod("p", asks("2", "1Gi"), withPriority(100)))
			synctest.Wait()
			for _, victim := range []string{"a1", "a2"} {
				p, ok := client.Lookup[core.Pod](w.View(), object.Key{Namespace: "default", Name: victim})
				if gone := !ok || p.DeletionTimestamp != nil; gone != (victim == name) {
					t.Errorf("with %d allowed: %s has gone: %v", allowed, victim, gone)
				}
			}
		})
	}
}

// A node where no budget is broken is taken, also if more important pods have to go there.
func TestPreemptionBreaksFewBudgets(t *testing.T) {
	one := sacrifice{victims: []*placed{{pod: mkPod("low", withPriority(1))}}, broken: 1}
	two := sacrifice{victims: []*placed{{pod: mkPod("high", withPriority(9))}, {pod: mkPod("more", withPriority(8))}}}
	if cheaper(one, two) || !cheaper(two, one) {
		t.Error("the broken budget counts less than the priority")
	}
}
