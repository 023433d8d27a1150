package h2

import (
	"math/bits"
	"sync"
)

// pools are buffers by size, in powers of two from 512 bytes on.
type pools [12]sync.Pool

const smallest = 9 // 1<<9 bytes

// get is an empty buffer for n bytes.
func (p *pools) get(n int) *[]byte {
	class := max(bits.Len(uint(max(n, 1)-1)), smallest)
	if class-smallest < len(p) {
		if b, ok := p[class-smallest].Get().(*[]byte); ok {
			return b
		}
	}
	b := make([]byte, 0, 1<<class)
	return &b
}

// put takes a buffer back, which may have grown.
func (p *pools) put(b *[]byte) {
	class := bits.Len(uint(cap(*b))) - 1 // what it can hold for sure
	if class < smallest || class-smallest >= len(p) {
		return
	}
	*b = (*b)[:0]
	p[class-smallest].Put(b)
}
