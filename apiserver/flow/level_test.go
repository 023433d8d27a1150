package flow

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// arrival is a request of a simulation.
type arrival struct {
	at   float64
	flow int
	took float64 // how long it will run
}

// result is how it went.
type result struct {
	flow   int
	waited float64
	denied bool
}

// simulate runs arrivals through one level, without a clock: the next thing that happens is the next arrival or the next end.
func simulate(l *level, list []arrival, patience float64) (out []result) {
	type running struct {
		end, began float64
		q          *queue
	}
	type queued struct {
		w  *waiter
		a  arrival
		by float64
	}
	var run []running
	var wait []queued
	settle := func(now float64) {
		for i := 0; i < len(wait); {
			e := wait[i]
			if e.w.in {
				run = append(run, running{e.w.began + e.a.took, e.w.began, e.w.queue})
				out = append(out, result{e.a.flow, e.w.began - e.a.at, false})
			} else if e.by <= now && l.giveUp(now, e.w) {
				out = append(out, result{e.a.flow, patience, true})
			} else {
				i++
				continue
			}
			wait = slices.Delete(wait, i, i+1)
		}
	}
	for len(list) > 0 || len(run) > 0 || len(wait) > 0 {
		slices.SortFunc(run, func(a, b running) int { return cmp.Compare(a.end, b.end) })
		if len(run) > 0 && (len(list) == 0 || run[0].end <= list[0].at) {
			r := run[0]
			run = run[1:]
			l.leave(r.end, r.began, r.q, Work{Seats: 1})
			settle(r.end)
			continue
		}
		if len(list) == 0 {
			settle(1e18)
			break
		}
		a := list[0]
		list = list[1:]
		settle(a.at)
		q, w, _, ok := l.enter(a.at, uint64(a.flow)*0x9e3779b97f4a7c15, Work{Seats: 1})
		switch {
		case !ok:
			out = append(out, result{a.flow, 0, true})
		case w == nil:
			run = append(run, running{a.at + a.took, a.at, q})
			out = append(out, result{a.flow, 0, false})
		default:
			wait = append(wait, queued{w, a, a.at + patience})
		}
	}
	return out
}

// One client that asks for a hundred times what there is must not make a hundred small ones wait, let alone be refused.
func TestElephantDoesNotStarveMice(t *testing.T) {
	l := &level{limit: 10}
	l.resize(64, 6, 50)
	var list []arrival
	r := rand.New(rand.NewPCG(1, 2))
	const seconds, took = 20.0, 0.01 // 10 seats serve 1000 requests a second
	for at := 0.0; at < seconds; at += 0.0002 {
		list = append(list, arrival{at, 0, took}) // the elephant: 5000 a second
	}
	for mouse := 1; mouse <= 100; mouse++ {
		for at := r.Float64(); at < seconds; at += 1 {
			list = append(list, arrival{at, mouse, took}) // a mouse: 1 a second
		}
	}
	slices.SortFunc(list, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	var mice, slow, denied, elephant, refused int
	var worst float64
	for _, res := range simulate(l, list, 15) {
		switch {
		case res.flow == 0 && res.denied:
			refused++
		case res.flow == 0:
			elephant++
		case res.denied:
			denied++
		default:
			mice++
			worst = max(worst, res.waited)
			if res.waited > 0.1 {
				slow++
			}
		}
	}
	t.Logf("mice: %d served, %d slower than 100 ms (worst %.3f s), %d refused; elephant: %d served, %d refused", mice, slow, worst, denied, elephant, refused)
	if denied > 0 || slow > mice/100 {
		t.Errorf("of %d requests of mice %d were refused and %d waited", mice, denied, slow)
	}
	if elephant < 15000 {
		t.Errorf("the elephant got %d requests through, though the mice left it more than 17000", elephant)
	}
	if l.running != 0 || l.waiting != 0 || l.seats != 0 || l.wanted != 0 || l.active != 0 {
		t.Errorf("the level is not empty at the end: %+v", l)
	}
}

// Two greedy flows share the seats in equal parts, however much each of them asks for.
func TestTwoGreedyFlowsGetTheSame(t *testing.T) {
	l := &level{limit: 4}
	l.resize(64, 6, 50)
	var list []arrival
	for at := 0.0; at < 10; at += 0.002 {
		list = append(list, arrival{at, 1, 0.01}, arrival{at + 0.0001, 2, 0.01})
		for i := range 4 {
			list = append(list, arrival{at + 0.0002 + float64(i)*0.0001, 2, 0.01})
		}
	}
	served := map[int]int{}
	for _, res := range simulate(l, list, 15) {
		if !res.denied {
			served[res.flow]++
		}
	}
	if a, b := float64(served[1]), float64(served[2]); a < 0.8*b || b < 0.8*a {
		t.Errorf("served %v, want about the same", served)
	}
}

// Wide requests take as many seats as they say, and those with extra work keep them for a while.
func TestWidthAndLinger(t *testing.T) {
	l := &level{limit: 4}
	l.resize(8, 2, 10)
	wide := Work{Seats: 3}
	q, w, _, _ := l.enter(0, 1, wide)
	if w != nil {
		t.Fatal("an empty level makes wait")
	}
	if _, w, _, _ = l.enter(0, 2, wide); w == nil {
		t.Fatal("6 seats of 4 are in use")
	}
	l.leave(1, 0, q, Work{Seats: 3, Extra: 3, Linger: 1e9})
	if w.in {
		t.Fatal("lingering seats were given away")
	}
	if at, ok := l.freed(); !ok || at != 2 {
		t.Fatalf("seats are free at %v %v, want 2", at, ok)
	}
	l.sync(2)
	l.dispatch(2)
	if !w.in {
		t.Error("nobody was let in when the seats were free")
	}
}

// A level without queues refuses, and one request may be wider than all of it.
func TestRejectingLevel(t *testing.T) {
	l := &level{limit: 2}
	if _, _, _, ok := l.enter(0, 1, Work{Seats: 5}); !ok {
		t.Error("a wide request alone was refused")
	}
	if _, _, why, ok := l.enter(0, 1, Work{Seats: 1}); ok || why != noSeats {
		t.Errorf("got %v %v", why, ok)
	}
}

func TestFullQueueRefuses(t *testing.T) {
	l := &level{limit: 1}
	l.resize(1, 1, 2)
	for i := range 3 {
		if _, _, _, ok := l.enter(0, 1, Work{Seats: 1}); !ok {
			t.Fatalf("request %d was refused", i)
		}
	}
	if _, _, why, ok := l.enter(0, 1, Work{Seats: 1}); ok || why != fullQueue {
		t.Errorf("got %v %v, want a refusal because of the queue", why, ok)
	}
}

func TestDealGivesDifferentQueues(t *testing.T) {
	count := make([]int, 64)
	for hash := range uint64(20000) {
		hand := deal(hash*0x9e3779b97f4a7c15, 64, 6, nil)
		seen := map[int]bool{}
		for _, c := range hand {
			if c < 0 || c >= 64 || seen[c] {
				t.Fatalf("hand %v of hash %d", hand, hash)
			}
			seen[c] = true
			count[c]++
		}
	}
	for i, n := range count {
		if n < 1500 || n > 2250 { // 1875 on average
			t.Errorf("queue %d was dealt %d times", i, n)
		}
	}
}

func TestRetryAfterGrowsAndShrinks(t *testing.T) {
	var d dropped
	now := int64(1000)
	for range 30 {
		for range 20 {
			d.add(now)
		}
		now++
	}
	if got := d.after(); got < 8 {
		t.Errorf("after 30 s with 20 refusals each: %d", got)
	}
	for range 40 {
		now += 40
		d.add(now)
	}
	if got := d.after(); got != 1 {
		t.Errorf("after a quiet time: %d, want 1", got)
	}
}
