package scheduler

import (
	"container/heap"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Back-off between two attempts of one pod, and how long a pod that fits nowhere waits if nothing happens at all.
const (
	minBackoff = time.Second
	maxBackoff = 10 * time.Second
	lookAgain  = 5 * time.Minute
)

// waiting is a pod that has no node.
type waiting struct {
	pod       *core.Pod
	since     time.Time // when it came; among pods of one priority the first comes first
	attempts  int
	due       time.Time // backing off until then
	parked    time.Time // when it was found to fit nowhere
	cause     trouble   // why it fits nowhere
	nominated string    // the node where others are being evicted for it

	in    place
	index int // in the heap of its place
}

// place is where a waiting pod is.
type place uint8

const (
	nowhere place = iota // with the loop, or being bound
	active
	backoff
	parked
)

// queue is all pods that wait for a node. The loop owns it.
type queue struct {
	pods    map[types.UID]*waiting
	active  pods
	backoff pods
	parked  map[types.UID]*waiting
	sweep   time.Time // when to look at what is parked even if nothing happens; zero: nothing is
}

func newQueue() *queue {
	q := &queue{pods: map[types.UID]*waiting{}, parked: map[types.UID]*waiting{}}
	q.active.less = func(a, b *waiting) bool {
		if x, y := priority(a.pod), priority(b.pod); x != y {
			return x > y
		}
		return a.since.Before(b.since)
	}
	q.backoff.less = func(a, b *waiting) bool { return a.due.Before(b.due) }
	return q
}

func priority(pod *core.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// set takes a pod in, or its new state.
func (q *queue) set(pod *core.Pod, now time.Time) {
	w := q.pods[pod.UID]
	if w == nil {
		w = &waiting{pod: pod, since: now}
		q.pods[pod.UID] = w
		q.put(w, active)
		return
	}
	changed := w.pod.Generation != pod.Generation || !sameLabels(w.pod, pod)
	if w.cause&byDevices != 0 && !slices.EqualFunc(w.pod.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses, sameClaim) {
		changed = true
	}
	w.pod = pod
	if changed && w.in == parked {
		q.wake(w, now)
	}
}

func sameClaim(a, b core.PodResourceClaimStatus) bool {
	return a.Name == b.Name && (a.ResourceClaimName == nil) == (b.ResourceClaimName == nil) &&
		(a.ResourceClaimName == nil || *a.ResourceClaimName == *b.ResourceClaimName)
}

func sameLabels(a, b *core.Pod) bool {
	if len(a.Labels) != len(b.Labels) {
		return false
	}
	for k, v := range a.Labels {
		if b.Labels[k] != v {
			return false
		}
	}
	return true
}

// drop forgets a pod that needs no node any more.
func (q *queue) drop(uid types.UID) {
	if w := q.pods[uid]; w != nil {
		q.put(w, nowhere)
		delete(q.pods, uid)
	}
}

// put moves a pod.
func (q *queue) put(w *waiting, to place) {
	switch w.in {
	case active:
		heap.Remove(&q.active, w.index)
	case backoff:
		heap.Remove(&q.backoff, w.index)
	case parked:
		delete(q.parked, w.pod.UID)
	}
	w.in = to
	switch to {
	case active:
		heap.Push(&q.active, w)
	case backoff:
		heap.Push(&q.backoff, w)
	case parked:
		q.parked[w.pod.UID] = w
	}
}

// next is the most urgent pod; nil if none is due.
func (q *queue) next(now time.Time) *waiting {
	for q.backoff.Len() > 0 && !q.backoff.list[0].due.After(now) {
		q.put(q.backoff.list[0], active)
	}
	if q.active.Len() == 0 {
		return nil
	}
	w := q.active.list[0]
	q.put(w, nowhere)
	w.attempts++
	return w
}

// park sets a pod aside that fits nowhere, until something happens that may end one of the causes.
func (q *queue) park(w *waiting, cause trouble, now time.Time) {
	w.cause, w.parked = cause, now
	w.due = now.Add(delay(w.attempts))
	q.put(w, parked)
	if q.sweep.IsZero() {
		q.sweep = now.Add(lookAgain)
	}
}

// retry has a pod tried again after its back-off.
func (q *queue) retry(w *waiting, now time.Time) {
	w.due = now.Add(delay(w.attempts))
	q.put(w, backoff)
}

// delay doubles with every attempt.
func delay(attempts int) time.Duration {
	d := minBackoff
	for i := 1; i < attempts && d < maxBackoff; i++ {
		d *= 2
	}
	return min(d, maxBackoff)
}

// helped wakes the parked pods for which a change may have made a difference.
func (q *queue) helped(by trouble, now time.Time) {
	if by == 0 {
		return
	}
	for _, w := range q.parked {
		if w.cause&by != 0 {
			q.wake(w, now)
		}
	}
}

func (q *queue) wake(w *waiting, now time.Time) {
	if w.due.After(now) {
		q.put(w, backoff)
	} else {
		q.put(w, active)
	}
}

// wakeAt is when the loop has to look without any event: a back-off ends, or pods have been parked for long. Zero: never.
func (q *queue) wakeAt() time.Time {
	at := q.sweep
	if q.backoff.Len() > 0 && (at.IsZero() || q.backoff.list[0].due.Before(at)) {
		at = q.backoff.list[0].due
	}
	return at
}

// stale wakes what has been parked for too long: against events that say less than they mean.
func (q *queue) stale(now time.Time) {
	if q.sweep.IsZero() || q.sweep.After(now) {
		return
	}
	q.sweep = time.Time{}
	for _, w := range q.parked {
		at := w.parked.Add(lookAgain)
		switch {
		case !at.After(now):
			q.put(w, active)
		case q.sweep.IsZero() || at.Before(q.sweep):
			q.sweep = at
		}
	}
}

// pods is a heap of waiting pods.
type pods struct {
	list []*waiting
	less func(a, b *waiting) bool
}

func (p *pods) Len() int           { return len(p.list) }
func (p *pods) Less(i, j int) bool { return p.less(p.list[i], p.list[j]) }
func (p *pods) Swap(i, j int) {
	p.list[i], p.list[j] = p.list[j], p.list[i]
	p.list[i].index, p.list[j].index = i, j
}
func (p *pods) Push(x any) {
	w := x.(*waiting)
	w.index = len(p.list)
	p.list = append(p.list, w)
}
func (p *pods) Pop() any {
	w := p.list[len(p.list)-1]
	p.list[len(p.list)-1] = nil
	p.list = p.list[:len(p.list)-1]
	return w
}
