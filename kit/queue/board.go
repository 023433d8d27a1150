package queue

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"proa.dev/kit/prom"
)

// Numbers are what a queue has seen.
type Numbers struct {
	Adds, Retries  int64 // so far
	Depth          int   // keys that wait for a worker
	Unfinished     time.Duration
	Longest        time.Duration   // since the first of the keys that are being worked on was begun; Unfinished is the sum of all
	Waited, Worked *prom.Histogram // how long keys waited for a worker, and were worked on
}

// Numbers is what q has seen.
func (q *Queue[K]) Numbers() Numbers {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := Numbers{Adds: q.adds, Retries: q.retries, Depth: len(q.order), Waited: q.waited, Worked: q.worked}
	for _, w := range q.working {
		took := time.Since(w.since)
		n.Unfinished += took
		n.Longest = max(n.Longest, took)
	}
	return n
}

// Board shows the queues of a process by name. The zero value is empty. Queues come to it by the context that their owners run in, so
// that nothing between has to know of it.
type Board struct {
	mu     sync.Mutex // guards queues
	queues map[string]func() Numbers
}

type boardKey struct{}

// With is a context whose queues b shows.
func (b *Board) With(ctx context.Context) context.Context {
	return context.WithValue(ctx, boardKey{}, b)
}

// Show puts a queue on the board of ctx, if it has one, in the place of an older one of that name.
func (q *Queue[K]) Show(ctx context.Context, name string) {
	b, ok := ctx.Value(boardKey{}).(*Board)
	if !ok {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queues == nil {
		b.queues = map[string]func() Numbers{}
	}
	b.queues[name] = q.Numbers
}

// Each calls fn for every queue, by name.
func (b *Board) Each(fn func(name string, n Numbers)) {
	b.mu.Lock()
	all := maps.Clone(b.queues)
	b.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fn(name, all[name]())
	}
}
