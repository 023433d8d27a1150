package cache

import (
	"sync"
	"sync/atomic"
	"time"

	"proa.dev/client"
)

// How much of its past a shelf remembers for watches that start from an old revision: events younger than freshFor, but no
// more than mostEvents; and leastEvents of any age.
const (
	freshFor    = time.Minute
	leastEvents = 128
	mostEvents  = 16384
)

// Change is one event of a shelf.
type Change struct {
	Type client.EventType // Added, Modified or Deleted
	Item *Item            // for Deleted: the last state, at the revision of the delete
	Old  *Item            // the state before; nil for Added
	Rev  int64

	left *leaving
}

// leaving is the old state at the new revision, made when the first watcher sees an object leave its selection.
type leaving struct {
	once sync.Once
	item *Item
}

// Left is the state before the change, at the revision of the change.
func (c *Change) Left() *Item {
	c.left.once.Do(func() { c.left.item = c.Old.at(c.Rev) })
	return c.left.item
}

// node is one Change in the log, or its start.
type node struct {
	Change
	seq  uint64
	at   time.Time
	next atomic.Pointer[node]
}

// log is the recent changes of a shelf. The shelf's lock guards first and last; whoever holds a node may follow next.
type log struct {
	first *node // the node before the oldest change that is still told
	last  *node
	since int64 // changes after this revision are all here
}

func newLog(rev int64) log {
	n := &node{}
	return log{first: n, last: n, since: rev}
}

// callAll is after how many changes every watcher is woken, concerned or not: a position left behind keeps all that came
// after it alive.
const callAll = 1024

// add appends a change and forgets what is too old. It says whether all watchers should move on.
func (l *log) add(c Change, now time.Time) (all bool) {
	c.left = &leaving{}
	n := &node{Change: c, seq: l.last.seq + 1, at: now}
	l.last.next.Store(n)
	l.last = n
	for count := l.last.seq - l.first.seq; count > leastEvents; count-- {
		oldest := l.first.next.Load()
		if count <= mostEvents && now.Sub(oldest.at) < freshFor {
			break
		}
		l.since = oldest.Rev
		l.first = &node{seq: oldest.seq}
		l.first.next.Store(oldest.next.Load())
	}
	return l.last.seq%callAll == 0
}
