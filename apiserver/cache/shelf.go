package cache

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/btree"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/apiserver/owners"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
)

// treeDegree is the fan-out of the ordered tree: a write after a snapshot copies one path of nodes.
const treeDegree = 16

type (
	tree  = btree.BTreeG[*Item]
	index = map[object.Key]*Item
)

// Shelf is the objects of one resource.
type Shelf struct {
	Kind   *kinds.Kind
	prefix string // "/registry/pods/"
	keep   *Keeper
	share  *owners.Shares
	served client.Resource // by which the View names it; empty: not served
	from   int64           // it was loaded at this revision: events up to there are in it
	gone   chan struct{}   // closed when it is taken away
	next   *Shelf          // what takes its place, if anything does; set before gone is closed

	mu       sync.RWMutex // guards below
	items    index
	sorted   *tree
	snap     *tree // a snapshot of sorted that readers share; nil once sorted has changed
	owners   map[types.UID]index
	nodes    map[string]index // pods by spec.nodeName
	perSpace map[string]int   // objects per namespace
	rev      int64            // of the last change
	log      log

	watching sync.Mutex // guards watchers; never held while mu is waited for
	watchers map[*Watcher]struct{}
	count    atomic.Int64 // len(watchers)
}

func newShelf(k *kinds.Kind, keep *Keeper, share *owners.Shares) *Shelf {
	return &Shelf{
		Kind: k, prefix: "/registry/" + k.Storage + "/", keep: keep, share: share, gone: make(chan struct{}),
		items: index{}, owners: map[types.UID]index{}, nodes: map[string]index{}, perSpace: map[string]int{},
		sorted:   btree.NewG(treeDegree, func(a, b *Item) bool { return less(a.Key, b.Key) }),
		log:      newLog(0),
		watchers: map[*Watcher]struct{}{},
	}
}

// StoreKey is where the object with this key is stored.
func (s *Shelf) StoreKey(key object.Key) string { return s.prefix + key.String() }

// Prefix is what the store's keys of all objects of the shelf, or of those of one namespace, begin with.
func (s *Shelf) Prefix(namespace string) string {
	if namespace == "" {
		return s.prefix
	}
	return s.prefix + namespace + "/"
}

// Get finds one object.
func (s *Shelf) Get(key object.Key) (*Item, bool) {
	s.mu.RLock()
	it, ok := s.items[key]
	s.mu.RUnlock()
	return it, ok
}

// Len is how many objects the shelf holds.
func (s *Shelf) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.items)
}

// Changes is how many changes there were since the shelf was filled.
func (s *Shelf) Changes() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.log.last.seq
}

// Watchers is how many watches are open.
func (s *Shelf) Watchers() int { return int(s.count.Load()) }

// Snapshot is the shelf as it is at one moment.
type Snapshot struct {
	tree     *tree
	Rev      int64 // everything up to here is in it, and nothing after
	perSpace int   // objects in the namespace that was asked for
	tail     *node // the log goes on after it
}

// snapshot freezes the shelf. seen is how far the whole cache is.
func (s *Shelf) snapshot(seen int64, namespace string) Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snap == nil {
		s.snap = s.sorted.Clone()
	}
	n := len(s.items)
	if namespace != "" {
		n = s.perSpace[namespace]
	}
	return Snapshot{tree: s.snap, Rev: max(seen, s.rev), perSpace: n, tail: s.log.last}
}

// Snapshot is a shelf as it is now. Count and Walk are about a namespace, or all if it is empty.
func (c *Cache) Snapshot(s *Shelf, namespace string) Snapshot { return s.snapshot(c.Rev(), namespace) }

// Walk calls fn for the objects of a namespace (all, if empty) from a key on, in key order, until fn says false. from is inclusive;
// its zero value is the beginning.
func (sn Snapshot) Walk(namespace string, from object.Key, fn func(*Item) bool) {
	if from == (object.Key{}) {
		from.Namespace = namespace
	}
	sn.tree.AscendGreaterOrEqual(&Item{Key: from}, func(it *Item) bool {
		if namespace != "" && it.Key.Namespace != namespace {
			return false
		}
		return fn(it)
	})
}

// Count is how many objects the snapshot holds in the namespace it was taken for.
func (sn Snapshot) Count() int { return sn.perSpace }

// Select is the objects that sel selects, in key order.
func (s *Shelf) Select(sel client.Select) []*Item {
	if sel.Owner == "" && sel.Node == "" {
		sn := s.snapshot(0, sel.Namespace)
		out := make([]*Item, 0, sn.perSpace)
		sn.Walk(sel.Namespace, object.Key{}, func(it *Item) bool { out = append(out, it); return true })
		return out
	}
	var out []*Item
	s.mu.RLock()
	found := s.owners[sel.Owner]
	if sel.Owner == "" {
		found = s.nodes[sel.Node]
	}
	for _, it := range found {
		if (sel.Namespace == "" || it.Key.Namespace == sel.Namespace) && (sel.Node == "" || nodeOf(it) == sel.Node) {
			out = append(out, it)
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(out, func(a, b *Item) int {
		if less(a.Key, b.Key) {
			return -1
		}
		return 1
	})
	return out
}

// put makes it the state of its key and publishes the change.
func (s *Shelf) put(it *Item, now time.Time) Change {
	it.prove()
	s.mu.Lock()
	old := s.replace(it)
	c := Change{Type: client.Added, Item: it, Old: old, Rev: it.Rev}
	if old != nil {
		c.Type = client.Modified
	}
	all := s.log.add(c, now)
	s.rev = it.Rev
	s.mu.Unlock()
	s.ring(&c, all)
	return c
}

// remove takes a key away and publishes the change. It says false if the key is not there.
func (s *Shelf) remove(key object.Key, rev int64, now time.Time) (Change, bool) {
	s.mu.Lock()
	old, ok := s.items[key]
	if !ok {
		s.rev = rev
		s.mu.Unlock()
		return Change{}, false
	}
	s.unindex(old)
	delete(s.items, key)
	s.sorted.Delete(old)
	s.snap = nil
	if s.perSpace[key.Namespace]--; s.perSpace[key.Namespace] == 0 {
		delete(s.perSpace, key.Namespace)
	}
	c := Change{Type: client.Deleted, Item: old.at(rev), Old: old, Rev: rev}
	all := s.log.add(c, now)
	s.rev = rev
	s.mu.Unlock()
	old.verify()
	s.ring(&c, all)
	return c, true
}

// replace puts it on the shelf without telling anybody. The caller holds mu.
func (s *Shelf) replace(it *Item) (old *Item) {
	old = s.items[it.Key]
	if old != nil {
		old.verify()
		s.unindex(old)
	} else {
		s.perSpace[it.Key.Namespace]++
	}
	s.items[it.Key] = it
	s.sorted.ReplaceOrInsert(it)
	s.snap = nil
	for _, ref := range it.Object.GetOwnerReferences() {
		addTo(s.owners, ref.UID, it)
	}
	if n := nodeOf(it); n != "" {
		addTo(s.nodes, n, it)
	}
	return old
}

func (s *Shelf) unindex(it *Item) {
	for _, ref := range it.Object.GetOwnerReferences() {
		dropFrom(s.owners, ref.UID, it)
	}
	if n := nodeOf(it); n != "" {
		dropFrom(s.nodes, n, it)
	}
}

func addTo[K comparable](m map[K]index, k K, it *Item) {
	if m[k] == nil {
		m[k] = index{}
	}
	m[k][it.Key] = it
}

func dropFrom[K comparable](m map[K]index, k K, it *Item) {
	delete(m[k], it.Key)
	if len(m[k]) == 0 {
		delete(m, k)
	}
}

func nodeOf(it *Item) string {
	if p, ok := it.Object.(*core.Pod); ok {
		return p.Spec.NodeName
	}
	return ""
}
