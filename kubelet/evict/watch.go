package evict

import (
	"slices"
	"time"

	core "k8s.io/api/core/v1"
)

// Level is how much there is of something: bytes, inodes or process ids.
type Level struct{ Available, Capacity int64 }

// Reading is what was measured, by signal. What could not be is not in it.
type Reading map[Signal]Level

// watch remembers what was seen before.
type watch struct {
	thresholds []Threshold
	transition time.Duration

	since  map[int]time.Time                    // by index of a threshold: seen without a break since
	acted  map[int]bool                         // thresholds that were acted on, until enough was won back
	pinned map[core.NodeConditionType]time.Time // when each condition was last true
}

func newWatch(thresholds []Threshold, transition time.Duration) *watch {
	return &watch{
		thresholds: thresholds, transition: transition,
		since: map[int]time.Time{}, acted: map[int]bool{}, pinned: map[core.NodeConditionType]time.Time{},
	}
}

// look says which conditions the node has, in the order of their names, and which thresholds to act on, most urgent first.
func (w *watch) look(r Reading, now time.Time) (conditions []core.NodeConditionType, act []Threshold) {
	acted := map[int]bool{}
	for i, t := range w.thresholds {
		l, known := r[t.Signal]
		limit := t.Value.of(l.Capacity)
		if w.acted[i] { // it was crossed: it has to be left by some distance
			limit += t.Reclaim.of(l.Capacity)
		}
		if !known || l.Available >= limit {
			delete(w.since, i)
			continue
		}
		if w.since[i].IsZero() {
			w.since[i] = now
		}
		m, _ := meaningOf(t.Signal)
		w.pinned[m.condition] = now
		if now.Sub(w.since[i]) >= t.Grace {
			acted[i] = true
			act = append(act, t)
		}
	}
	w.acted = acted
	for c, at := range w.pinned {
		if now.Sub(at) < w.transition || at.Equal(now) {
			conditions = append(conditions, c)
		} else {
			delete(w.pinned, c)
		}
	}
	slices.Sort(conditions)
	return conditions, act
}
