package queue

import (
	"context"
	"sync"
	"time"

	"proa.dev/kit/prom"
)

// times is how long keys wait and are worked on, in Kubernetes' buckets.
var times = prom.Seconds(1e-8, 1e-7, 1e-6, 9.999999999999999e-06, 9.999999999999999e-05, 0.001, 0.01, 0.1, 1, 10)

// Queue hands out keys first in, first out. The zero value is not usable; see New. All methods are safe for concurrent use.
type Queue[K comparable] struct {
	min, max time.Duration

	mu      sync.Mutex // guards all below
	order   []K
	queued  map[K]time.Time // since when
	working map[K]work
	tries   map[K]int
	timers  map[K]alarm
	adds    int64
	retries int64
	wake    chan struct{} // holds one token when order may be non-empty

	waited, worked *prom.Histogram
}

// work is a key that somebody works on.
type work struct {
	again bool // added again meanwhile
	since time.Time
}

type alarm struct {
	at    time.Time
	timer *time.Timer
}

// New makes a queue whose Retry waits minDelay after the first failure of a key, doubling up to maxDelay.
func New[K comparable](minDelay, maxDelay time.Duration) *Queue[K] {
	return &Queue[K]{
		min: minDelay, max: maxDelay,
		queued: map[K]time.Time{}, working: map[K]work{}, tries: map[K]int{}, timers: map[K]alarm{},
		wake: make(chan struct{}, 1), waited: times.New(), worked: times.New(),
	}
}

// Add makes k due now. A pending delay of k stays pending.
func (q *Queue[K]) Add(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(k)
}

func (q *Queue[K]) add(k K) {
	if _, queued := q.queued[k]; queued {
		return
	}
	if w, busy := q.working[k]; busy {
		if !w.again {
			q.adds++
		}
		w.again = true
		q.working[k] = w
		return
	}
	q.adds++
	q.put(k)
}

// put has k wait for a worker.
func (q *Queue[K]) put(k K) {
	q.queued[k] = time.Now()
	q.order = append(q.order, k)
	q.signal()
}

func (q *Queue[K]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// AddAfter makes k due after d; of several pending delays of one key the earliest counts. d <= 0 is Add.
func (q *Queue[K]) AddAfter(k K, d time.Duration) {
	if d <= 0 {
		q.Add(k)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	at := time.Now().Add(d)
	if a, ok := q.timers[k]; ok {
		if !at.Before(a.at) {
			return
		}
		a.timer.Stop()
	}
	var a alarm
	a.at = at
	a.timer = time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.timers[k].at.Equal(at) {
			delete(q.timers, k)
		}
		q.add(k)
	})
	q.timers[k] = a
}

// Retry makes k due after its back-off and counts the failure.
func (q *Queue[K]) Retry(k K) {
	q.mu.Lock()
	n := q.tries[k]
	q.tries[k] = n + 1
	q.retries++
	q.mu.Unlock()
	q.AddAfter(k, q.delay(n))
}

// Tries says how often k failed since the last Forget.
func (q *Queue[K]) Tries(k K) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tries[k]
}

func (q *Queue[K]) delay(n int) time.Duration {
	d := q.min
	for range n {
		if d *= 2; d >= q.max {
			return q.max
		}
	}
	return d
}

// Forget resets the back-off of k.
func (q *Queue[K]) Forget(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.tries, k)
}

// Next waits for a due key; ok is false once ctx has ended. The caller owns the key until it calls Done.
func (q *Queue[K]) Next(ctx context.Context) (k K, ok bool) {
	for {
		q.mu.Lock()
		if len(q.order) > 0 {
			k = q.order[0]
			q.order = q.order[1:]
			now := time.Now()
			q.waited.Add(int64(now.Sub(q.queued[k])))
			delete(q.queued, k)
			q.working[k] = work{since: now}
			if len(q.order) > 0 {
				q.signal()
			}
			q.mu.Unlock()
			return k, true
		}
		q.order = nil
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return k, false
		case <-q.wake:
		}
	}
}

// Done ends the caller's ownership of k. If k was added meanwhile it is due again.
func (q *Queue[K]) Done(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w, owned := q.working[k]
	if owned {
		q.worked.Add(int64(time.Since(w.since)))
	}
	again := w.again
	delete(q.working, k)
	if again {
		q.put(k)
	}
}

// Len counts the keys that are due and wait for a worker.
func (q *Queue[K]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.order)
}
