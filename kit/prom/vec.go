package prom

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Vec is the series of one metric, or of several that have the same labels, by their key. The zero value is ready. Series are never
// forgotten: keys must not be what clients choose. A new series copies the table, so it is for thousands of them, not millions.
type Vec[K comparable, V any] struct {
	now atomic.Pointer[map[K]*V]
	mu  sync.Mutex // guards what now is replaced by
}

// Get is the series of k. made makes it the first time; nil: its zero value.
func (v *Vec[K, V]) Get(k K, made func() *V) *V {
	if m := v.now.Load(); m != nil {
		if s := (*m)[k]; s != nil {
			return s
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	next := map[K]*V{}
	if m := v.now.Load(); m != nil {
		if s := (*m)[k]; s != nil {
			return s
		}
		next = maps.Clone(*m)
	}
	s := new(V)
	if made != nil {
		s = made()
	}
	next[k] = s
	v.now.Store(&next)
	return s
}

// Each calls fn for every series, in the order of compare.
func (v *Vec[K, V]) Each(compare func(a, b K) int, fn func(K, *V)) {
	m := v.now.Load()
	if m == nil {
		return
	}
	for _, k := range slices.SortedFunc(maps.Keys(*m), compare) {
		fn(k, (*m)[k])
	}
}
