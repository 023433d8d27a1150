package flow

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	flowcontrol "k8s.io/api/flowcontrol/v1"
	"k8s.io/utils/ptr"

	kinds "proa.dev/kinds/flowcontrol"
)

// Seats is how many requests run at once by default: what Kubernetes has for reads and for writes together.
const Seats = 600

// period is how often seats are lent anew while there is load.
const period = 10 * time.Second

// maxWait bounds the time in a queue.
const maxWait = time.Minute

// Sharer lets requests in, in fair shares. All methods may be called at once.
type Sharer struct {
	seats int
	seed  maphash.Seed
	epoch time.Time // of the clock of levels
	now   atomic.Pointer[setup]

	mu      sync.Mutex // guards the making of a setup, and below
	lending *time.Timer
	lent    bool // the timer runs

	exempt struct{ running, high, started atomic.Int64 }
}

// setup is what the objects say, at one time.
type setup struct {
	schemas  []*schema
	catchAll *schema
	levels   []*level // of the order of parts; the exempt one too
	parts    []limits
	rest     []int // seats of levels when nobody has wanted more for long
}

// New is a Sharer of so many seats (0: Seats), with the schemas and levels that every cluster has.
func New(seats int) *Sharer {
	if seats <= 0 {
		seats = Seats
	}
	s := &Sharer{seats: seats, seed: maphash.MakeSeed(), epoch: time.Now()}
	s.Configure(nil, nil)
	return s
}

// clock is the seconds since the Sharer was made.
func (s *Sharer) clock() float64 { return time.Since(s.epoch).Seconds() }

// Configure makes the Sharer follow these objects. Those that are mandatory and missing are added. Requests under way stay where they are.
func (s *Sharer) Configure(schemas []*flowcontrol.FlowSchema, levels []*flowcontrol.PriorityLevelConfiguration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range kinds.MandatoryLevels() {
		if find(levels, m.Name) == nil {
			levels = append(levels[:len(levels):len(levels)], m)
		}
	}
	for _, m := range kinds.MandatorySchemas() {
		if find(schemas, m.Name) == nil {
			schemas = append(schemas[:len(schemas):len(schemas)], m)
		}
	}
	old := map[string]*level{}
	oldSchemas := map[string]*schema{}
	if before := s.now.Load(); before != nil {
		for _, l := range before.levels {
			old[l.name] = l
		}
		for _, c := range before.schemas {
			oldSchemas[c.name] = c
		}
	}
	next := &setup{}
	byName := map[string]*level{}
	shares := make([]shared, len(levels))
	for i, l := range levels {
		shares[i] = sharesOf(&l.Spec)
		exempt := l.Spec.Type == flowcontrol.PriorityLevelEnablementExempt
		lv := old[l.Name]
		if lv == nil || lv.uid != string(l.UID) || lv.exempt != exempt {
			lv = &level{name: l.Name, uid: string(l.UID), exempt: exempt}
		}
		byName[l.Name] = lv
		next.levels = append(next.levels, lv)
	}
	next.parts = divide(s.seats, shares)
	for i, l := range levels {
		next.levels[i].become(l, next.parts[i].nominal, s.clock())
	}
	for _, c := range compile(schemas, s.seed) {
		if c.level = byName[levelOf(schemas, c.name)]; c.level == nil {
			continue // dangling: it matches nothing
		}
		if was := oldSchemas[c.name]; was != nil {
			c.counts = was.counts
		} else {
			c.counts = newCounts()
		}
		next.schemas = append(next.schemas, c)
		if c.name == kinds.CatchAll {
			next.catchAll = c
		}
	}
	next.rest = s.divideIdle(next)
	s.now.Store(next)
	s.lend(next)
}

type named interface {
	comparable
	GetName() string
}

func find[T named](list []T, name string) (none T) {
	for _, o := range list {
		if o.GetName() == name {
			return o
		}
	}
	return none
}

func levelOf(schemas []*flowcontrol.FlowSchema, name string) string {
	return find(schemas, name).Spec.PriorityLevelConfiguration.Name
}

func sharesOf(s *flowcontrol.PriorityLevelConfigurationSpec) shared {
	if l := s.Limited; l != nil {
		return shared{ptr.Deref(l.NominalConcurrencyShares, 0), ptr.Deref(l.LendablePercent, 0), l.BorrowingLimitPercent}
	}
	if e := s.Exempt; e != nil {
		return shared{shares: ptr.Deref(e.NominalConcurrencyShares, 0), lends: ptr.Deref(e.LendablePercent, 0)}
	}
	return shared{}
}

// become is the level as its object says. Its seats come with the next lend.
func (l *level) become(o *flowcontrol.PriorityLevelConfiguration, nominal int, now float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sync(now)
	l.nominal = nominal
	dealt, hand, length := 0, 0, 0
	if p := o.Spec.Limited; p != nil && p.LimitResponse.Queuing != nil {
		q := p.LimitResponse.Queuing
		dealt, hand, length = int(q.Queues), int(q.HandSize), int(q.QueueLengthLimit)
	}
	l.resize(dealt, hand, length)
}

// divideIdle is the division when no level has any demand.
func (s *Sharer) divideIdle(n *setup) []int {
	parts := make([]part, len(n.levels))
	for i, l := range n.levels {
		parts[i] = part{limits: n.parts[i], exempt: l.exempt}
	}
	return lend(parts)
}

// lend divides the seats by the demand since the last time, and says whether the division is the idle one. The caller holds mu.
func (s *Sharer) lend(n *setup) (idle bool) {
	now := s.clock()
	parts := make([]part, len(n.levels))
	idle = true
	for i, l := range n.levels {
		p := part{limits: n.parts[i], exempt: l.exempt}
		if l.exempt {
			p.high = int(s.exempt.high.Swap(s.exempt.running.Load()))
		} else {
			l.mu.Lock()
			l.sync(now)
			p.high = l.demand.period(now)
			p.smoothed = l.demand.smoothed
			idle = idle && l.waiting == 0
			l.mu.Unlock()
		}
		parts[i] = p
	}
	for i, limit := range lend(parts) {
		l := n.levels[i]
		idle = idle && (l.exempt || limit == n.rest[i])
		l.mu.Lock()
		l.limit = limit
		l.dispatch(s.clock())
		l.mu.Unlock()
	}
	return idle
}

// pressed begins to lend seats anew every period, because somebody has had to wait. It ends by itself when nobody has wanted more
// than the idle division gives: an idle server has no timer.
func (s *Sharer) pressed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lent {
		return
	}
	s.lent = true
	s.lending = time.AfterFunc(period, s.again)
}

func (s *Sharer) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lend(s.now.Load()) {
		s.lent = false
		return
	}
	s.lending.Reset(period)
}

// Ticket is a request that was let in. Its owner calls Leave once.
type Ticket struct {
	sharer *Sharer
	schema *schema
	level  *level
	queue  *queue
	work   Work
	began  float64
	entry  *entry
}

// Refused says that a request was not let in.
type Refused struct {
	Reason     string // "queue-full", "concurrency-limit", "time-out"
	RetryAfter int    // seconds
}

func (r *Refused) Error() string { return "too many requests: " + r.Reason }

// Class is what a request was classified as: the uids of its FlowSchema and PriorityLevelConfiguration.
type Class struct{ Schema, Level string }

// Place is where a request belongs.
type Place struct {
	schema *schema
	setup  *setup
}

// Class is the uids of a place.
func (p Place) Class() Class { return Class{p.schema.uid, p.schema.level.uid} }

// Exempt says whether nothing is ever refused there.
func (p Place) Exempt() bool { return p.schema.level.exempt }

// Classify finds the place of a request.
func (s *Sharer) Classify(r *Request) Place {
	n := s.now.Load()
	for _, c := range n.schemas {
		if c.matches(r) {
			return Place{c, n}
		}
	}
	return Place{n.catchAll, n}
}

// Enter lets a request in, at once or after some time in a queue: at most wait, and not longer than ctx. The error is *Refused.
func (s *Sharer) Enter(ctx context.Context, p Place, r *Request, work Work, wait time.Duration) (Ticket, error) {
	l := p.schema.level
	t := Ticket{sharer: s, schema: p.schema, level: l}
	now := s.clock()
	t.entry = &entry{schema: p.schema, asked: *r, work: work, arrived: now, began: now}
	if l.exempt {
		s.exemptBegins()
		p.schema.counts.began(0)
		t.entry.work.Seats = max(1, work.Seats)
		l.mu.Lock()
		l.roll.add(t.entry)
		l.mu.Unlock()
		return t, nil
	}
	hash := p.schema.flow(r, s.seed)
	l.mu.Lock()
	t.work = work.within(int(levelSeatsShare * float64(l.nominal)))
	q, w, why, ok := l.enter(now, hash, t.work)
	if !ok {
		l.dropped.add(int64(now))
		err := &Refused{reasons[why], l.dropped.after()}
		l.mu.Unlock()
		p.schema.counts.refused[why].Add(1)
		s.pressed()
		return Ticket{}, err
	}
	in := w == nil || w.in
	if t.entry.work, t.entry.queue = t.work, q; w != nil {
		w.entry = t.entry
	}
	if in {
		l.roll.add(t.entry)
	}
	free, linger := l.freed()
	l.mu.Unlock()
	t.queue, t.began = q, now
	if linger {
		s.serveAt(l, free)
	}
	if !in {
		if err := s.wait(ctx, p, w, wait); err != nil {
			return Ticket{}, err
		}
		t.began = w.began
	}
	p.schema.counts.began(t.began - now)
	return t, nil
}

// wait waits in a queue.
func (s *Sharer) wait(ctx context.Context, p Place, w *waiter, limit time.Duration) error {
	s.pressed()
	p.schema.counts.waiting.Add(1)
	defer p.schema.counts.waiting.Add(-1)
	patience := time.NewTimer(min(limit, maxWait))
	defer patience.Stop()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	case <-patience.C:
	}
	left := ctx.Err() != nil
	l := p.schema.level
	now := s.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.giveUp(now, w) {
		return nil // let in just now
	}
	if left {
		l.cancelled++
	}
	p.schema.counts.refused[tooLate].Add(1)
	l.dropped.add(int64(now))
	return &Refused{reasons[tooLate], l.dropped.after()}
}

// serveAt lets those who wait in when a lingering seat is free.
func (s *Sharer) serveAt(l *level, at float64) {
	time.AfterFunc(time.Duration((at-s.clock())*float64(time.Second)), func() {
		l.mu.Lock()
		now := s.clock()
		l.sync(now)
		l.dispatch(now)
		l.note(now)
		next, more := l.freed()
		l.mu.Unlock()
		if more {
			s.serveAt(l, next)
		}
	})
}

// Leave gives the seats back.
func (t *Ticket) Leave() {
	s, l := t.sharer, t.level
	if s == nil {
		return
	}
	t.sharer = nil
	if l == nil || l.exempt {
		s.exempt.running.Add(-1)
		if l != nil {
			l.mu.Lock()
			l.roll.remove(t.entry)
			l.mu.Unlock()
		}
		if t.schema != nil {
			t.schema.counts.running.Add(-1)
		}
		return
	}
	t.schema.counts.running.Add(-1)
	l.mu.Lock()
	l.roll.remove(t.entry)
	l.leave(s.clock(), t.began, t.queue, t.work)
	free, linger := l.freed()
	l.mu.Unlock()
	if linger {
		s.serveAt(l, free)
	}
}

// exemptBegins counts a request that nothing holds up.
func (s *Sharer) exemptBegins() {
	n := s.exempt.running.Add(1)
	s.exempt.started.Add(1)
	for high := s.exempt.high.Load(); n > high && !s.exempt.high.CompareAndSwap(high, n); high = s.exempt.high.Load() {
	}
}

// Own lets in a call of the server's own components, which nothing holds up. What they use is taken from what the others share.
func (s *Sharer) Own() Ticket {
	s.exemptBegins()
	return Ticket{sharer: s}
}

// IsRefused says whether err is a refusal.
func IsRefused(err error) (*Refused, bool) {
	var r *Refused
	return r, errors.As(err, &r)
}
