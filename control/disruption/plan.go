package disruption

import (
	"maps"
	"time"

	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/control"
	"proa.dev/object"
)

// patience is how long after its eviction was allowed a pod is expected to begin to go.
const patience = 2 * time.Minute

// state is what a plan is made of.
type state struct {
	budget *policy.PodDisruptionBudget
	pods   []*core.Pod // that it selects
	now    time.Time
	// scale is the uid and the size of what a pod belongs to; no uid: nothing.
	scale func(*core.Pod) (types.UID, int32, error)
}

// plan makes the status of a budget. If it cannot be known, no disruption is allowed.
func plan(s state) (changes []control.Change, again control.Again) {
	b := s.budget
	expected, desired, strays, err := s.expected()
	if err != nil {
		n := object.Clone(b)
		n.Status.DisruptionsAllowed = 0
		meta.SetStatusCondition(&n.Status.Conditions, metav1.Condition{Type: policy.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
			Reason: policy.SyncFailedReason, Message: err.Error(), ObservedGeneration: n.Status.ObservedGeneration, LastTransitionTime: metav1.NewTime(s.now)})
		if equality.Semantic.DeepEqual(n.Status, b.Status) {
			return nil, control.Done
		}
		return []control.Change{{Op: control.Status, Object: n, Said: control.Note{On: b, Type: core.EventTypeWarning,
			Reason: "CalculateExpectedPodCountFailed", Format: "Failed to calculate the number of expected pods: " + err.Error()}}}, control.Done
	}
	disrupted, again := s.disrupted()
	healthy := s.healthy(disrupted)
	n := object.Clone(b)
	allowed := max(healthy-desired, 0)
	if expected <= 0 { // a budget that covers nothing yet must be safe when its first pods appear
		allowed = 0
	}
	n.Status = policy.PodDisruptionBudgetStatus{
		ObservedGeneration: b.Generation, DisruptedPods: disrupted, DisruptionsAllowed: allowed, CurrentHealthy: healthy,
		DesiredHealthy: desired, ExpectedPods: expected, Conditions: n.Status.Conditions,
	}
	setAllowed(n, s.now)
	if equality.Semantic.DeepEqual(n.Status, b.Status) {
		return nil, again
	}
	return []control.Change{{Op: control.Status, Object: n, Said: s.note(strays)}}, again
}

// note is what to tell about a budget whose pods are not as they should be.
func (s *state) note(strays bool) control.Note {
	switch {
	case len(s.pods) == 0:
		return control.Note{On: s.budget, Reason: "NoPods", Format: "No matching pods found"}
	case strays:
		return control.Note{On: s.budget, Type: core.EventTypeWarning, Reason: "UnmanagedPods",
			Format: "Pods selected by this PodDisruptionBudget (selector: " + s.budget.Spec.Selector.String() + ") were found to be unmanaged. " +
				"As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. " +
				"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."}
	}
	return control.Note{}
}

// setAllowed brings the condition in line with what is allowed.
func setAllowed(b *policy.PodDisruptionBudget, now time.Time) {
	c := metav1.Condition{Type: policy.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policy.InsufficientPodsReason,
		ObservedGeneration: b.Status.ObservedGeneration, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))}
	if b.Status.DisruptionsAllowed > 0 {
		c.Status, c.Reason = metav1.ConditionTrue, policy.SufficientPodsReason
	}
	meta.SetStatusCondition(&b.Status.Conditions, c)
}

// expected is how many pods there should be, how many of them must be healthy, and whether some belong to nothing.
func (s *state) expected() (expected, desired int32, strays bool, err error) {
	spec := &s.budget.Spec
	switch {
	case spec.MaxUnavailable != nil:
		if expected, strays, err = s.sum(); err != nil {
			return 0, 0, false, err
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, int(expected), true)
		return expected, max(expected-int32(n), 0), strays, err
	case spec.MinAvailable == nil:
		return 0, 0, false, nil
	case spec.MinAvailable.Type == intstr.Int:
		return int32(len(s.pods)), spec.MinAvailable.IntVal, false, nil
	}
	if expected, strays, err = s.sum(); err != nil {
		return 0, 0, false, err
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, int(expected), true)
	return expected, int32(n), strays, err
}

// sum adds up the sizes of what the pods belong to.
func (s *state) sum() (total int32, strays bool, err error) {
	sizes := map[types.UID]int32{}
	asked := map[types.UID]bool{}
	for _, p := range s.pods {
		ref := metav1.GetControllerOfNoCopy(p)
		if ref == nil {
			strays = true
			continue
		}
		if asked[ref.UID] {
			continue
		}
		asked[ref.UID] = true
		uid, n, err := s.scale(p)
		if err != nil {
			return 0, false, err
		}
		sizes[uid] = n
	}
	for _, n := range sizes {
		total += n
	}
	return total, strays, nil
}

// disrupted is the pods whose eviction was allowed and who have not begun to go, without those that are overdue; and when the next is.
func (s *state) disrupted() (left map[string]metav1.Time, again control.Again) {
	was := s.budget.Status.DisruptedPods
	left = maps.Clone(was)
	clear(left)
	for _, p := range s.pods {
		at, ok := was[p.Name]
		if !ok || p.DeletionTimestamp != nil {
			continue
		}
		if end := at.Add(patience); !end.Before(s.now) {
			left[p.Name] = at
			again = again.Sooner(control.Until(end.Add(time.Millisecond), s.now))
		}
	}
	return left, again
}

// healthy is how many pods are ready and stay.
func (s *state) healthy(disrupted map[string]metav1.Time) (n int32) {
	for _, p := range s.pods {
		if _, going := disrupted[p.Name]; p.DeletionTimestamp == nil && !going && control.Ready(p) {
			n++
		}
	}
	return n
}
