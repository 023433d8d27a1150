package topology

import (
	"math/bits"
	"strconv"
	"strings"
)

// Mask is a set of NUMA nodes, 0 to 63.
type Mask uint64

// MaskOf is the set of these nodes; numbers that no Mask can hold are left out.
func MaskOf(nodes ...int) (m Mask) {
	for _, n := range nodes {
		if n >= 0 && n < 64 {
			m |= 1 << n
		}
	}
	return m
}

// Count is how many nodes are in m.
func (m Mask) Count() int { return bits.OnesCount64(uint64(m)) }

// Has says whether node is in m.
func (m Mask) Has(node int) bool { return node >= 0 && node < 64 && m&(1<<node) != 0 }

// HasAny says whether one of the nodes is in m.
func (m Mask) HasAny(nodes []int) bool { return m&MaskOf(nodes...) != 0 }

// Nodes are the members of m, in order.
func (m Mask) Nodes() (out []int) {
	for rest := uint64(m); rest != 0; rest &= rest - 1 {
		out = append(out, bits.TrailingZeros64(rest))
	}
	return out
}

// String lists the members: "0,2".
func (m Mask) String() string {
	var b strings.Builder
	for i, n := range m.Nodes() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(n))
	}
	return b.String()
}

// Narrower orders masks: fewer nodes first, then the lower ones.
func (m Mask) Narrower(o Mask) bool {
	if m.Count() != o.Count() {
		return m.Count() < o.Count()
	}
	return m < o
}

// Subsets calls fn for every set of the nodes that is not empty, the smaller ones first, and among those of a size in the order of nodes.
func Subsets(nodes []int, fn func(Mask)) {
	var grow func(rest []int, have Mask, left int)
	grow = func(rest []int, have Mask, left int) {
		if left == 0 {
			fn(have)
			return
		}
		for i := range rest {
			grow(rest[i+1:], have|MaskOf(rest[i]), left-1)
		}
	}
	for size := 1; size <= len(nodes); size++ {
		grow(nodes, 0, size)
	}
}
