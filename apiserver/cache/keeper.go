package cache

import (
	"sync"

	"proa.dev/apiserver/codec"
)

// keptBytes bounds the memory that cached encodings may take.
const keptBytes = 32 << 20

// Keeper bounds the memory of cached encodings: the oldest go first. An encoding that is gone is made again when needed.
type Keeper struct {
	mu    sync.Mutex // guards below
	queue []kept     // oldest first, from head on
	head  int
	bytes int
}

type kept struct {
	item *Item
	form codec.Form
	size int
}

func (k *Keeper) add(it *Item, f codec.Form, size int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.queue = append(k.queue, kept{it, f, size})
	k.bytes += size
	for k.bytes > keptBytes && k.head < len(k.queue) {
		old := k.queue[k.head]
		k.queue[k.head] = kept{}
		k.head++
		k.bytes -= old.size
		old.item.encoded[old.form].Store(nil)
	}
	if k.head > len(k.queue)/2 {
		n := copy(k.queue, k.queue[k.head:])
		clear(k.queue[n:])
		k.queue, k.head = k.queue[:n], 0
	}
}
