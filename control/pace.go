package control

import (
	"sync"
	"time"

	"proa.dev/object"
)

// Pace keeps an interval between two writes for one key, so that the first of many changes goes out at once and the others in steps. It is
// safe for concurrent use.
type Pace struct {
	Interval time.Duration

	mu   sync.Mutex // guards last
	last map[object.Key]time.Time
}

// Note says that there is a write for key now.
func (p *Pace) Note(key object.Key, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[object.Key]time.Time{}
	}
	if len(p.last) > 1000 { // the rest is long past its interval
		for k, at := range p.last {
			if now.Sub(at) >= p.Interval {
				delete(p.last, k)
			}
		}
	}
	p.last[key] = now
}

// Wait is how long key has to wait for its next write; Done is not at all.
func (p *Pace) Wait(key object.Key, now time.Time) Again {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.last[key]
	if !ok {
		return Done
	}
	if wait := at.Add(p.Interval).Sub(now); wait > 0 {
		return Again(wait)
	}
	delete(p.last, key)
	return Done
}
