package statefulset

import (
	"fmt"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/control"
)

// state is what a plan looks at.
type state struct {
	set       *apps.StatefulSet
	pods      []*core.Pod // controlled by the set, with an ordinal
	revisions []*apps.ControllerRevision
	revision  func(name string) (*apps.ControllerRevision, bool) // of the namespace, whoever owns it
	claim     func(name string) (*core.PersistentVolumeClaim, bool)
}

// turn is one pass of planning.
type turn struct {
	state
	now       time.Time
	monotonic bool // one pod at a time
	history   control.Revisions
	current   *apps.ControllerRevision // pods below the partition are made of it
	replicas  []*core.Pod              // by ordinal from start; nil where there is none
	condemned []*core.Pod              // beyond, the highest first

	changes []control.Change
	again   control.Again
	status  apps.StatefulSetStatus
}

// plan says what to do next, and the status.
func plan(s state, now time.Time) (changes []control.Change, status apps.StatefulSetStatus, again control.Again, err error) {
	t, err := begin(s, now)
	if err != nil || t.history.Collides {
		return nil, t.status, control.Done, err
	}
	t.count()
	if s.set.DeletionTimestamp != nil {
		return nil, t.status, t.again, nil
	}
	t.changes = append(t.changes, t.history.Changes...)
	if t.keep() && t.shrink() {
		t.roll()
	}
	t.changes = append(t.changes, t.history.Expired(s.set.Spec.RevisionHistoryLimit, t.lives)...)
	return t.changes, t.status, t.again, nil
}

func begin(s state, now time.Time) (*turn, error) {
	t := &turn{state: s, now: now, monotonic: s.set.Spec.PodManagementPolicy != apps.ParallelPodManagement}
	t.status = *s.set.Status.DeepCopy()
	h, err := control.Revise(s.set, &s.set.Spec.Template, s.revisions, s.set.Status.CollisionCount, s.revision)
	if err != nil {
		return t, err
	}
	t.history = h
	if h.Collides {
		t.status.CollisionCount = new(control.Or(t.status.CollisionCount, 0) + 1)
		return t, nil
	}
	t.current = h.Update
	for _, rev := range h.All {
		if rev.Name == s.set.Status.CurrentRevision {
			t.current = rev
		}
	}
	n, first := int(control.Or(s.set.Spec.Replicas, 1)), start(s.set)
	t.replicas = make([]*core.Pod, n)
	for _, p := range s.pods {
		if i := ordinalOf(s.set, p) - first; i >= 0 && i < n {
			t.replicas[i] = p
		} else {
			t.condemned = append(t.condemned, p)
		}
	}
	byOrdinal(s.set, t.condemned, true)
	return t, nil
}

func (t *turn) available(p *core.Pod) bool {
	if !runningAndReady(p) {
		return false
	}
	ok, wait := control.Available(p, t.set.Spec.MinReadySeconds, t.now)
	t.again = t.again.Sooner(wait)
	return ok
}

// count fills the status from the pods there are.
func (t *turn) count() {
	st := &t.status
	st.ObservedGeneration = t.set.Generation
	st.CurrentRevision, st.UpdateRevision = t.current.Name, t.history.Update.Name
	st.CollisionCount = new(control.Or(st.CollisionCount, 0))
	st.Replicas, st.ReadyReplicas, st.AvailableReplicas, st.CurrentReplicas, st.UpdatedReplicas = 0, 0, 0, 0, 0
	for _, p := range t.pods {
		st.Replicas++
		if runningAndReady(p) {
			st.ReadyReplicas++
		}
		if t.available(p) {
			st.AvailableReplicas++
		}
		if p.DeletionTimestamp != nil {
			continue
		}
		if revisionOf(p) == t.current.Name {
			st.CurrentReplicas++
		}
		if revisionOf(p) == t.history.Update.Name {
			st.UpdatedReplicas++
		}
	}
	n := control.Or(t.set.Spec.Replicas, 1)
	if t.rolling() && st.UpdatedReplicas == n && st.ReadyReplicas == n && st.Replicas == n {
		st.CurrentReplicas, st.CurrentRevision = st.UpdatedReplicas, st.UpdateRevision
	}
}

func (t *turn) rolling() bool {
	return t.set.Spec.UpdateStrategy.Type != apps.OnDeleteStatefulSetStrategyType
}

func (t *turn) partition() int {
	ru := t.set.Spec.UpdateStrategy.RollingUpdate
	if ru == nil {
		return 0
	}
	return int(control.Or(ru.Partition, 0))
}

// keep makes every pod that should be there exist and be as its identity says. It says whether all is well enough to go on to scaling down
// and updating.
func (t *turn) keep() bool {
	for i, p := range t.replicas {
		if ok := t.keepOne(i, p); !ok && t.monotonic {
			return false
		}
	}
	return true
}

func (t *turn) keepOne(i int, p *core.Pod) bool {
	ordinal := start(t.set) + i
	switch {
	case p == nil:
		t.create(i, ordinal)
		return false
	case control.Finished(p):
		if p.DeletionTimestamp == nil {
			t.changes = append(t.changes, t.remove(p)) // its successor is made when it is gone
		}
		return false
	case p.DeletionTimestamp != nil:
		return false
	}
	if p.Status.Phase == core.PodPending {
		claims, _ := newClaims(t.state, ordinal) // somebody may have deleted one before it was bound
		t.changes = append(t.changes, claims...)
	}
	if n := identify(t.set, p); n != nil {
		t.changes = append(t.changes, control.Change{Op: control.Update, Object: n})
	}
	t.changes = append(t.changes, ownClaims(t.state, p, false)...)
	return t.available(p)
}

// create plans the pod at index i. Below the partition it is of the current revision, from there on of the new one.
func (t *turn) create(i, ordinal int) {
	claims, wait := newClaims(t.state, ordinal)
	t.changes = append(t.changes, claims...)
	if wait {
		return // the end of the old claim wakes us
	}
	template, revision := &t.set.Spec.Template, t.history.Update.Name
	if t.rolling() && i < t.partition() && t.current.Name != revision {
		if old, err := control.TemplateOf(t.current); err == nil {
			template, revision = old, t.current.Name
		}
	}
	p := newPod(t.set, template, revision, ordinal)
	t.changes = append(t.changes, control.Change{Op: control.Create, Object: p,
		Said: control.Note{On: t.set, Reason: "SuccessfulCreate",
			Format: fmt.Sprintf("create Pod %s in StatefulSet %s successful", p.Name, t.set.Name)},
		Refused: control.Note{On: t.set, Reason: "FailedCreate",
			Format: fmt.Sprintf("create Pod %s in StatefulSet %s failed error: ", p.Name, t.set.Name) + "%[1]v"},
	})
}

func (t *turn) remove(p *core.Pod) control.Change {
	return control.Change{Op: control.Delete, Object: p,
		Said: control.Note{On: t.set, Reason: "SuccessfulDelete",
			Format: fmt.Sprintf("delete Pod %s in StatefulSet %s successful", p.Name, t.set.Name)},
		Refused: control.Note{On: t.set, Reason: "FailedDelete",
			Format: fmt.Sprintf("delete Pod %s in StatefulSet %s failed error: ", p.Name, t.set.Name) + "%[1]v"},
	}
}

// shrink deletes the pods beyond the wanted number, the highest first. It says whether there are none left to wait for.
func (t *turn) shrink() bool {
	for _, p := range t.condemned {
		t.changes = append(t.changes, ownClaims(t.state, p, true)...)
	}
	sick := t.firstUnavailable()
	for _, p := range t.condemned {
		switch {
		case p.DeletionTimestamp != nil:
			if t.monotonic {
				return false
			}
			continue
		case t.monotonic && !t.available(p) && p != sick:
			return false // the first sick pod has to recover, or to be the one that goes
		}
		t.changes = append(t.changes, t.remove(p))
		if t.monotonic {
			return false
		}
	}
	return len(t.condemned) == 0 || !t.monotonic
}

// firstUnavailable is the pod of the lowest ordinal that is not available.
func (t *turn) firstUnavailable() *core.Pod {
	for i := len(t.condemned) - 1; i >= 0; i-- {
		if p := t.condemned[i]; p.DeletionTimestamp != nil || !t.available(p) {
			return p
		}
	}
	return nil // keep has seen to the replicas
}

// roll deletes pods of other revisions, from the highest ordinal down to the partition, so that they come back updated. No more than
// maxUnavailable are down for it at a time; pods that are down anyway do not count against it when it is they who go.
func (t *turn) roll() {
	if !t.rolling() {
		return
	}
	limit := t.maxUnavailable()
	busy, down := 0, 0
	for _, p := range t.replicas {
		if p == nil || p.DeletionTimestamp != nil {
			busy++
			down++
		} else if !t.available(p) {
			down++
			if revisionOf(p) == t.history.Update.Name {
				busy++
			}
		}
	}
	for i := len(t.replicas) - 1; i >= t.partition(); i-- {
		p := t.replicas[i]
		if p == nil || p.DeletionTimestamp != nil || control.Finished(p) || revisionOf(p) == t.history.Update.Name {
			continue
		}
		healthy := t.available(p)
		if busy >= limit || healthy && down >= limit {
			return
		}
		t.changes = append(t.changes, t.remove(p))
		busy++
		if healthy {
			down++
		}
	}
}

func (t *turn) maxUnavailable() int {
	ru := t.set.Spec.UpdateStrategy.RollingUpdate
	if ru == nil || ru.MaxUnavailable == nil {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(ru.MaxUnavailable, len(t.replicas), false)
	if err != nil {
		return 1 // validation refuses what does not parse
	}
	return max(1, n)
}

// lives says whether a revision is still in use.
func (t *turn) lives(name string) bool {
	if name == t.current.Name || name == t.set.Status.CurrentRevision {
		return true
	}
	for _, p := range t.pods {
		if revisionOf(p) == name {
			return true
		}
	}
	return false
}
