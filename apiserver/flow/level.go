package flow

import (
	"math"
	"sync"
	"time"
)

// serviceTime is what a request is taken to need until it has ended and told better.
const serviceTime = 3 * time.Millisecond

// level is one priority level: its seats, its queues, and who waits in them. Its methods are pure but for the lock: time, in seconds on
// any clock that only grows, is an argument.
//
// Fair queuing in virtual time, as KEP-1040 has it: r grows by seat-seconds per active queue. Each queue has the virtual time at
// which its next request would begin in a world where every active queue gets the same part at every moment, and the queue whose next
// request would end first is served. A request that ended sooner or later than assumed corrects its queue.
type level struct {
	name, uid string // these and exempt stay: an object that says otherwise is another level
	exempt    bool

	mu       sync.Mutex // guards all below
	limit    int        // seats, by the last division
	nominal  int        // seats, by the shares alone
	dealt    int        // of the queues, those that requests are dealt to; 0: who cannot run is refused
	hand     int
	length   int      // how many may wait in one queue
	queues   []*queue // nil: not used yet
	robin    int
	turn     uint // of cards, so that equal queues take turns
	seats    int  // in use, lingering ones too
	running  int
	waiting  int // requests in queues
	wanted   int // seats of those
	active   int // queues with requests
	r        float64
	at       float64     // when r was brought up to date
	linger   []lingering // who keeps seats after its end
	demand   demand
	rejected [3]uint64 // by reason
	started  uint64
	dropped  dropped

	cancelled uint64 // of those who were rejected as too late: their clients had left
	roll      roll
}

// lingering is seats that are free from some time on.
type lingering struct {
	until float64
	seats int
	queue *queue
}

// queue is one of a level's queues.
type queue struct {
	first, last *waiter
	length      int
	work        float64 // seat-seconds of those who wait
	wanted      int     // seats of those
	running     int
	seats       int
	next        float64 // virtual time at which the next request begins
}

// waiter is a request in a queue.
type waiter struct {
	queue      *queue
	work       Work
	arrived    float64 // virtual time
	next, prev *waiter
	ready      chan struct{} // closed when it may run
	began      float64       // when it was let in
	in         bool
	entry      *entry
}

func (q *queue) push(w *waiter) {
	w.prev = q.last
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.length++
	q.work += w.work.cost(serviceTime)
	q.wanted += w.work.most()
}

func (q *queue) remove(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev = nil, nil
	q.length--
	q.wanted -= w.work.most()
	if q.work -= w.work.cost(serviceTime); q.length == 0 {
		q.work = 0 // no rests of rounding
	}
}

func (q *queue) idle() bool { return q.first == nil && q.running == 0 }

// Why a request is refused.
const (
	fullQueue = iota
	noSeats
	tooLate
)

var reasons = [3]string{"queue-full", "concurrency-limit", "time-out"}

// sync brings virtual time and lingering seats up to now.
func (l *level) sync(now float64) {
	for i := 0; i < len(l.linger); {
		e := l.linger[i]
		if e.until > now {
			i++
			continue
		}
		l.release(e.queue, e.seats)
		l.linger[i] = l.linger[len(l.linger)-1]
		l.linger = l.linger[:len(l.linger)-1]
	}
	dt := now - l.at
	if dt <= 0 {
		return
	}
	l.at = now
	if l.active == 0 {
		l.r = 0 // nobody compares with what was
		return
	}
	l.r += float64(min(l.seats+l.wanted, l.limit)) / float64(l.active) * dt
}

func (l *level) release(q *queue, seats int) {
	l.seats -= seats
	if q != nil {
		q.seats -= seats
	}
}

// note tells the demand of now.
func (l *level) note(now float64) { l.demand.set(now, l.seats+l.wanted) }

// enter lets a request in at once, or queues it (w is not nil), or refuses it (ok is false, and why).
func (l *level) enter(now float64, hash uint64, work Work) (q *queue, w *waiter, why int, ok bool) {
	l.sync(now)
	if l.dealt == 0 {
		if !l.fits(work.most()) {
			l.rejected[noSeats]++
			return nil, nil, noSeats, false
		}
		l.begin(nil, work)
		l.note(now)
		return nil, nil, 0, true
	}
	q = l.choose(hash)
	if l.seats >= l.limit && q.length >= l.length {
		l.rejected[fullQueue]++
		return nil, nil, fullQueue, false
	}
	if q.idle() {
		q.next = l.r
		l.active++
	}
	if l.waiting == 0 && l.seats < l.limit && l.fits(work.most()) { // the usual case: nobody waits
		l.begin(q, work)
		q.next = max(q.next, l.r) + work.cost(serviceTime)
		l.note(now)
		return q, nil, 0, true
	}
	w = &waiter{queue: q, work: work, arrived: l.r, ready: make(chan struct{})}
	q.push(w)
	l.waiting++
	l.wanted += work.most()
	l.bound(q)
	l.dispatch(now)
	l.note(now)
	return q, w, 0, true
}

// choose is the queue of a flow's hand with the least work in it.
func (l *level) choose(hash uint64) *queue {
	var room [maxHand]int
	hand := deal(hash, l.dealt, l.hand, room[:0])
	l.turn++
	var best *queue
	for i := range hand {
		n := hand[(uint(i)+l.turn)%uint(len(hand))]
		if l.queues[n] == nil {
			l.queues[n] = new(queue)
		}
		q := l.queues[n]
		if best == nil || q.work < best.work {
			best = q
		}
	}
	return best
}

// fits says whether a request may have so many seats. One that is wider than the whole level runs alone.
func (l *level) fits(seats int) bool {
	if seats > l.limit {
		return l.running == 0 && len(l.linger) == 0
	}
	return l.seats+seats <= l.limit
}

func (l *level) begin(q *queue, work Work) {
	l.running++
	l.started++
	l.seats += work.most()
	if q != nil {
		q.running++
		q.seats += work.most()
	}
}

// dispatch lets in those who wait, as long as there are seats for the next one.
func (l *level) dispatch(now float64) {
	for l.waiting > 0 && l.seats < l.limit {
		q := l.pick()
		w := q.first
		if !l.fits(w.work.most()) {
			return
		}
		q.remove(w)
		l.waiting--
		l.wanted -= w.work.most()
		l.begin(q, w.work)
		q.next += w.work.cost(serviceTime)
		l.bound(q)
		w.began, w.in = now, true
		if w.entry != nil {
			w.entry.began = now
			l.roll.add(w.entry)
		}
		close(w.ready)
	}
}

// pick is the queue whose first request would end first in virtual time; among equals they take turns.
func (l *level) pick() *queue {
	var best *queue
	least, at := math.Inf(1), 0
	for i := range l.queues {
		n := (l.robin + 1 + i) % len(l.queues)
		q := l.queues[n]
		if q == nil || q.first == nil {
			continue
		}
		if end := q.next + q.first.work.cost(serviceTime); end < least {
			best, least, at = q, end, n
		}
	}
	l.robin = at
	return best
}

// bound keeps a queue from saving up time in which it had nothing to do.
func (l *level) bound(q *queue) {
	if q.first != nil && q.next < q.first.arrived {
		q.next = q.first.arrived
	}
}

// leave ends a request that began at a time.
func (l *level) leave(now, began float64, q *queue, work Work) {
	l.sync(now)
	l.running--
	if q != nil {
		q.running--
		q.next += float64(work.Seats) * (now - began - serviceTime.Seconds())
		l.bound(q)
	}
	if work.Linger > 0 {
		l.linger = append(l.linger, lingering{now + work.Linger.Seconds(), work.most(), q})
	} else {
		l.release(q, work.most())
	}
	if q != nil && q.idle() {
		l.active--
	}
	l.dispatch(now)
	l.note(now)
}

// giveUp takes a request out of its queue, unless it has been let in meanwhile.
func (l *level) giveUp(now float64, w *waiter) bool {
	l.sync(now)
	if w.in {
		return false
	}
	w.queue.remove(w)
	l.waiting--
	l.wanted -= w.work.most()
	l.bound(w.queue)
	if w.queue.idle() {
		l.active--
	}
	l.rejected[tooLate]++
	l.dispatch(now) // a narrower one may stand behind it
	l.note(now)
	return true
}

// freed is when the next lingering seat is free, if somebody waits for it.
func (l *level) freed() (at float64, ok bool) {
	if l.waiting == 0 {
		return 0, false
	}
	for i, e := range l.linger {
		if i == 0 || e.until < at {
			at, ok = e.until, true
		}
	}
	return at, ok
}

// resize gives the level other queues. Those that are too many now are served until they are empty.
func (l *level) resize(dealt, hand, length int) {
	l.dealt, l.hand, l.length = dealt, hand, length
	if more := dealt - len(l.queues); more > 0 {
		l.queues = append(l.queues, make([]*queue, more)...)
	}
}
