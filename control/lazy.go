package control

import (
	"cmp"
	"sync"
	"time"

	"proa.dev/object"
)

// StatusDelay is how long a status that is only on its way (3 of 500 ready) may stay unwritten, so that a burst of changes is one write.
const StatusDelay = 50 * time.Millisecond

// Lazy holds back writes that are not urgent, each for at most Delay. The zero value is ready; it is safe for concurrent use.
type Lazy struct {
	Delay time.Duration // 0 is StatusDelay

	mu    sync.Mutex // guards since
	since map[object.Key]time.Time
}

// Hold says whether the write for key should wait, and until when. Every key for which it said so must come back to it or to Drop.
func (l *Lazy) Hold(key object.Key, now time.Time) (bool, Again) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.since[key]
	if !ok {
		if l.since == nil {
			l.since = map[object.Key]time.Time{}
		}
		at = now
		l.since[key] = at
	}
	if wait := at.Add(cmp.Or(l.Delay, StatusDelay)).Sub(now); wait > 0 {
		return true, Again(wait)
	}
	delete(l.since, key)
	return false, Done
}

// Drop forgets key: it was written, or needs no write.
func (l *Lazy) Drop(key object.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.since, key)
}
