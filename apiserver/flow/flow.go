package flow

import "sync/atomic"

// The bounds of Kubernetes.
const (
	Reads  = 400
	Writes = 200
)

// Limiter counts requests under way. The zero value has the bounds of Kubernetes.
type Limiter struct {
	Reads, Writes int64 // bounds; 0: the defaults
	reading       atomic.Int64
	writing       atomic.Int64
	refusedReads  atomic.Int64
	refusedWrites atomic.Int64
}

// Enter admits one request if there is room. Whoever was admitted calls leave at its end.
func (l *Limiter) Enter(write bool) (leave func(), ok bool) {
	count, bound, refused := &l.reading, l.Reads, &l.refusedReads
	if write {
		count, bound, refused = &l.writing, l.Writes, &l.refusedWrites
	}
	if bound == 0 {
		if bound = Reads; write {
			bound = Writes
		}
	}
	if count.Add(1) > bound {
		count.Add(-1)
		refused.Add(1)
		return nil, false
	}
	return func() { count.Add(-1) }, true
}

// InFlight is how many requests are under way.
func (l *Limiter) InFlight() (reads, writes int64) { return l.reading.Load(), l.writing.Load() }

// Refused is how many requests were refused so far.
func (l *Limiter) Refused() (reads, writes int64) {
	return l.refusedReads.Load(), l.refusedWrites.Load()
}
