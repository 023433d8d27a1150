package cache

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/client"
	"proa.dev/object"
)

// maxLag is how many changes a watcher may be behind before it is cut off. What it would still have to send is held in memory.
const maxLag = 1 << 16

// Selection is which objects a list or watch is about. Nil selectors select everything.
type Selection struct {
	Namespace string
	Name      string // exact; "" is any
	Node      string // pods: exact spec.nodeName; "" is any
	Labels    labels.Selector
	Fields    fields.Selector // those beyond Namespace, Name and Node

	// Version is an item in the version that Labels and Fields are about; nil: they are about items as they are stored.
	Version func(*Item) (*Item, error)
}

// All says whether nothing but the namespace narrows the selection.
func (s Selection) All() bool {
	return s.Name == "" && s.Node == "" && (s.Labels == nil || s.Labels.Empty()) && (s.Fields == nil || s.Fields.Empty())
}

// Near is the cheap part of Matches: whether the selection could be about it at all.
func (s *Selection) Near(it *Item) bool {
	return (s.Namespace == "" || s.Namespace == it.Key.Namespace) && (s.Name == "" || s.Name == it.Key.Name) &&
		(s.Node == "" || s.Node == nodeOf(it))
}

// Matches says whether it is selected. The error is that of Version.
func (s *Selection) Matches(it *Item) (yes bool, err error) {
	if !s.Near(it) {
		return false, nil
	}
	if s.Version != nil {
		if it, err = s.Version(it); err != nil {
			return false, err
		}
	}
	return (s.Labels == nil || s.Labels.Empty() || s.Labels.Matches(labels.Set(it.Object.GetLabels()))) &&
		(s.Fields == nil || s.Fields.Empty() || s.Fields.Matches(it.Fields())), nil
}

// Event is one change as one watcher sees it.
type Event struct {
	Type client.EventType
	Item *Item
	Old  *Item
	Err  error // instead of all else: the watcher's selection cannot tell whether it is about a change
}

// Watcher is a position in the log of a shelf, and a bell.
type Watcher struct {
	shelf *Shelf
	cache *Cache
	sel   Selection
	from  int64 // changes up to this revision were seen before the watcher began
	seen  int64 // the last change taken; it is the taker's
	at    atomic.Pointer[node]
	bell  chan struct{}
	cut   chan struct{} // closed when the watcher is too slow
	dead  atomic.Bool   // cut is closed
	still bool          // never cut off: readers in this process
	onCut atomic.Pointer[func()]
}

// OnCut has f called when the watcher is cut off: to wake a writer that is stuck. f must not block.
func (w *Watcher) OnCut(f func()) { w.onCut.Store(&f) }

// Bell rings when there may be something to take, and when the watcher is cut off or the resource is gone.
func (w *Watcher) Bell() <-chan struct{} { return w.bell }

// Cut is closed when the watcher has been cut off because it was too slow.
func (w *Watcher) Cut() <-chan struct{} { return w.cut }

// Ring rings the bell: for those who have something else to tell whoever listens to it.
func (w *Watcher) Ring() {
	select {
	case w.bell <- struct{}{}:
	default: // it has been rung and not heard yet
	}
}

// Gone is closed when the resource is not served any more, or in another way.
func (w *Watcher) Gone() <-chan struct{} { return w.shelf.gone }

// Over says whether nothing comes any more once all is taken: the watcher was cut off, or the resource is gone.
func (w *Watcher) Over() bool {
	select {
	case <-w.shelf.gone:
		return true
	default:
		return w.dead.Load()
	}
}

// Take appends what has happened since the last call, at most limit events, and how far the watcher has now seen: no event up to
// that revision is still to come. 0 means that there is more to take.
func (w *Watcher) Take(into []Event, limit int) (events []Event, upTo int64) {
	upTo = w.cache.Rev() // before the log is walked: everything up to here is in the log
	at := w.at.Load()
	for n := at.next.Load(); n != nil; n = at.next.Load() {
		if len(into) >= limit {
			w.at.Store(at)
			return into, 0
		}
		at = n
		if n.Rev > w.from {
			w.seen = n.Rev
			into = w.see(into, &n.Change)
		}
	}
	w.at.Store(at)
	return into, max(upTo, w.from, w.seen)
}

// see appends the change as the watcher's selection shows it.
func (w *Watcher) see(into []Event, c *Change) []Event {
	now, err := w.sel.Matches(c.Item)
	was := false
	if err == nil && c.Old != nil {
		was, err = w.sel.Matches(c.Old)
	}
	switch {
	case err != nil:
		return append(into, Event{Err: err})
	case c.Type == client.Deleted && was:
		return append(into, Event{Type: client.Deleted, Item: c.Item, Old: c.Old})
	case c.Type == client.Deleted:
		return into
	case now && was:
		return append(into, Event{Type: client.Modified, Item: c.Item, Old: c.Old})
	case now:
		return append(into, Event{Type: client.Added, Item: c.Item})
	case was:
		return append(into, Event{Type: client.Deleted, Item: c.Left(), Old: c.Old})
	}
	return into
}

// ring wakes the watchers that a change concerns, or all. Only the goroutine that feeds the cache calls it, and only that
// one changes the log, so log.last may be read without the shelf's lock.
func (s *Shelf) ring(c *Change, all bool) {
	if s.count.Load() == 0 {
		return
	}
	s.watching.Lock()
	defer s.watching.Unlock()
	for w := range s.watchers {
		if !all && !w.sel.Near(c.Item) && (c.Old == nil || !w.sel.Near(c.Old)) {
			continue
		}
		select {
		case w.bell <- struct{}{}:
		default:
			// It has been rung before and did not come yet.
			if !w.still && s.log.last.seq-w.at.Load().seq > maxLag && w.dead.CompareAndSwap(false, true) {
				close(w.cut)
				if f := w.onCut.Load(); f != nil {
					(*f)()
				}
			}
		}
	}
}

// away tells every watcher that the resource is gone.
func (s *Shelf) away() {
	close(s.gone)
	s.watching.Lock()
	defer s.watching.Unlock()
	for w := range s.watchers {
		w.Ring()
	}
}

// open registers a watcher that goes on after the node at.
func (s *Shelf) open(c *Cache, sel Selection, at *node, from int64, still bool) *Watcher {
	w := &Watcher{shelf: s, cache: c, sel: sel, from: from, bell: make(chan struct{}, 1), cut: make(chan struct{}), still: still}
	w.at.Store(at)
	s.watching.Lock()
	s.watchers[w] = struct{}{}
	s.watching.Unlock()
	s.count.Add(1)
	w.Ring() // for what came between at and the registration; somebody may have rung since
	return w
}

// Close ends the watcher.
func (w *Watcher) Close() {
	w.shelf.watching.Lock()
	defer w.shelf.watching.Unlock()
	if _, ok := w.shelf.watchers[w]; ok {
		delete(w.shelf.watchers, w)
		w.shelf.count.Add(-1)
	}
}

// WatchNow opens a watcher on everything after this moment, and gives the objects there are, in key order, and the revision of
// the moment. The error is that of sel.Version.
func (c *Cache) WatchNow(s *Shelf, sel Selection) (w *Watcher, have []*Item, rev int64, err error) {
	sn := s.snapshot(c.Rev(), sel.Namespace)
	w = s.open(c, sel, sn.tail, sn.Rev, false)
	sn.Walk(sel.Namespace, object.Key{}, func(it *Item) bool {
		var yes bool
		if yes, err = sel.Matches(it); yes {
			have = append(have, it)
		}
		return err == nil
	})
	if err != nil {
		w.Close()
		return nil, nil, 0, err
	}
	return w, have, sn.Rev, nil
}

// WatchFrom opens a watcher on every change after a revision. The error is 410 if the shelf does not remember it.
func (c *Cache) WatchFrom(s *Shelf, sel Selection, rev int64) (*Watcher, error) {
	s.mu.RLock()
	since, at := s.log.since, s.log.first
	if rev >= s.rev {
		at = s.log.last
	}
	s.mu.RUnlock()
	if rev < since {
		return nil, apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", rev, since))
	}
	return s.open(c, sel, at, rev, false), nil
}

// follow is View.Watch on one shelf, and on those that take its place.
func (c *Cache) follow(ctx context.Context, s *Shelf, fn func(client.Event)) error {
	sn := s.snapshot(c.Rev(), "")
	w := s.open(c, Selection{}, sn.tail, sn.Rev, true)
	defer func() { w.Close() }()
	sn.Walk("", object.Key{}, func(it *Item) bool {
		fn(client.Event{Type: client.Added, Object: it.Object})
		return ctx.Err() == nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	sn = Snapshot{} // or it would keep every old state alive
	fn(client.Event{Type: client.Synced})
	for {
		gone := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ended:
			return c.endedBecause()
		case <-w.shelf.gone:
			gone = true
		case <-w.bell:
		}
		if err := w.drain(ctx, fn); err != nil {
			return err
		}
		switch {
		case !gone:
		case w.shelf.next == nil:
			return fmt.Errorf("watch %s: %w", s.Kind.GroupVersionResource, client.ErrGone)
		default:
			was := w
			w = c.moveOn(was.shelf, fn)
			was.Close()
		}
	}
}

// drain tells all that has happened.
func (w *Watcher) drain(ctx context.Context, fn func(client.Event)) error {
	var events []Event
	for more := true; more; {
		var upTo int64
		events, upTo = w.Take(events[:0], 256)
		more = upTo == 0
		for _, e := range events {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			v := client.Event{Type: e.Type, Object: e.Item.Object}
			if e.Old != nil {
				v.Old = e.Old.Object
			}
			fn(v)
		}
		clear(events)
	}
	return nil
}

// moveOn tells how the shelf that takes the place of was differs from it, and goes on with that one.
func (c *Cache) moveOn(was *Shelf, fn func(client.Event)) *Watcher {
	s := was.next
	sn := s.snapshot(c.Rev(), "")
	w := s.open(c, Selection{}, sn.tail, sn.Rev, true)
	kept := map[object.Key]bool{}
	sn.Walk("", object.Key{}, func(it *Item) bool {
		kept[it.Key] = true
		switch old, ok := was.Get(it.Key); {
		case !ok:
			fn(client.Event{Type: client.Added, Object: it.Object})
		case old.Rev != it.Rev:
			fn(client.Event{Type: client.Modified, Object: it.Object, Old: old.Object})
		}
		return true
	})
	was.snapshot(0, "").Walk("", object.Key{}, func(it *Item) bool {
		if !kept[it.Key] {
			fn(client.Event{Type: client.Deleted, Object: it.Object, Old: it.Object})
		}
		return true
	})
	return w
}

// TooLarge is what a wait for a revision ends with.
func TooLarge(asked, have int64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, have), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// waitFor bounds how long a read waits for a revision that the cache has not seen.
const waitFor = 3 * time.Second
