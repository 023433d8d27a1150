package cpu

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"k8s.io/utils/cpuset"

	"proa.dev/kubelet/topology"
)

// level is a way to group CPUs.
type level func(topology.CPU) int

func byNode(c topology.CPU) int   { return c.Node }
func bySocket(c topology.CPU) int { return c.Socket }
func byCache(c topology.CPU) int  { return c.Cache }
func byCore(c topology.CPU) int   { return c.Core }

// taker collects CPUs.
type taker struct {
	m      *topology.Machine
	free   cpuset.CPUSet
	taken  cpuset.CPUSet
	need   int
	spread bool // threads of different cores first
}

// inside are the CPUs of set in one group.
func inside(m *topology.Machine, set cpuset.CPUSet, by level, id int) cpuset.CPUSet {
	var out []int
	for _, n := range set.UnsortedList() {
		if c, ok := m.CPU(n); ok && by(c) == id {
			out = append(out, n)
		}
	}
	return cpuset.New(out...)
}

// ids are the groups that set has a part in.
func ids(m *topology.Machine, set cpuset.CPUSet, by level) (out []int) {
	seen := map[int]bool{}
	for _, n := range set.UnsortedList() {
		if c, ok := m.CPU(n); ok && !seen[by(c)] {
			seen[by(c)] = true
			out = append(out, by(c))
		}
	}
	return out
}

// perCore is how many threads a core has.
func perCore(m *topology.Machine) int {
	cores := m.Count(m.All(), byCore)
	if cores == 0 {
		return 1
	}
	return len(m.CPUs) / cores
}

func perCache(m *topology.Machine) int {
	caches := m.Count(m.All(), byCache)
	if caches == 0 {
		return 1
	}
	return len(m.CPUs) / caches
}

// nodesFirst says whether a NUMA node holds sockets, and not the other way round.
func (t *taker) nodesFirst() bool {
	return t.m.Count(t.m.All(), bySocket) >= len(t.m.Nodes)
}

// sorted are the groups that part has CPUs in, those with the fewest free CPUs first.
func (t *taker) sorted(part cpuset.CPUSet, by level) []int {
	list, free := ids(t.m, part, by), map[int]int{}
	for _, n := range t.free.UnsortedList() {
		if c, ok := t.m.CPU(n); ok {
			free[by(c)]++
		}
	}
	slices.SortFunc(list, func(a, b int) int {
		if free[a] != free[b] {
			return free[a] - free[b]
		}
		return a - b
	})
	return list
}

// within sorts groups inside of larger groups, which are in order.
func (t *taker) within(outer []int, outerBy, by level) (out []int) {
	for _, id := range outer {
		out = append(out, t.sorted(inside(t.m, t.free, outerBy, id), by)...)
	}
	return out
}

func (t *taker) nodes() []int {
	if t.nodesFirst() {
		return t.sorted(t.free, byNode)
	}
	return t.within(t.sockets(), bySocket, byNode)
}

func (t *taker) sockets() []int {
	if t.nodesFirst() {
		return t.within(t.nodes(), byNode, bySocket)
	}
	return t.sorted(t.free, bySocket)
}

func (t *taker) cores() []int {
	if t.nodesFirst() {
		return t.within(t.sockets(), bySocket, byCore)
	}
	return t.within(t.nodes(), byNode, byCore)
}

func (t *taker) take(set cpuset.CPUSet) {
	t.taken, t.free = t.taken.Union(set), t.free.Difference(set)
	t.need -= set.Size()
}

// takeWhole takes groups of which every CPU is free, as long as so many are needed. whole is how large a group is.
func (t *taker) takeWhole(list []int, by level, whole func(id int) int) {
	for _, id := range list {
		if set := inside(t.m, t.free, by, id); set.Size() == whole(id) && t.need >= set.Size() && set.Size() > 0 {
			t.take(set)
		}
	}
}

func (t *taker) all(by level) func(int) int {
	return func(id int) int { return inside(t.m, t.m.All(), by, id).Size() }
}

// byCaches takes whole caches, then as much of one as is needed, if one has it.
func (t *taker) byCaches() {
	for _, id := range t.within(t.nodes(), byNode, byCache) {
		if t.need >= perCache(t.m) {
			t.takeWhole(t.within(t.nodes(), byNode, byCache), byCache, t.all(byCache))
		}
		if t.need < 1 {
			return
		}
		t.partOfCache(id)
		if t.need < 1 {
			return
		}
	}
}

func (t *taker) partOfCache(id int) {
	threads := perCore(t.m)
	cores := ids(t.m, inside(t.m, t.free, byCache, id), byCore)
	slices.Sort(cores)
	cores = cores[:min(len(cores), (t.need+threads-1)/threads)]
	set := cpuset.New()
	for _, c := range cores {
		set = set.Union(inside(t.m, t.free, byCore, c))
	}
	if list := set.List(); t.need%2 != 0 && threads > 1 && len(list) > t.need {
		set = cpuset.New(list[:len(list)-1]...)
	}
	if set.Size() == t.need {
		t.take(set)
	}
}

// rest takes single CPUs: of cores that others are on already first, so that whole cores stay free; or of as many cores as there are.
func (t *taker) rest() {
	by, list := level(byCore), t.cores()
	if t.spread {
		by, list = bySocket, t.sockets()
	}
	for _, id := range list {
		for _, n := range inside(t.m, t.free, by, id).List() {
			if t.need < 1 {
				return
			}
			t.take(cpuset.New(n))
		}
	}
}

func short(n int, free cpuset.CPUSet) error {
	return fmt.Errorf("not enough cpus available to satisfy request: requested=%d, available=%d", n, free.Size())
}

// packed takes n of the free CPUs as near to each other as it can.
func packed(m *topology.Machine, free cpuset.CPUSet, n int, spread, caches bool) (cpuset.CPUSet, error) {
	t := &taker{m: m, free: free, taken: cpuset.New(), need: n, spread: spread}
	if n < 1 {
		return t.taken, nil
	}
	if n > free.Size() {
		return cpuset.New(), short(n, free)
	}
	steps := []func(){
		func() { t.takeWhole(t.nodes(), byNode, t.all(byNode)) },
		func() { t.takeWhole(t.sockets(), bySocket, t.all(bySocket)) },
	}
	if !t.nodesFirst() {
		slices.Reverse(steps)
	}
	if caches {
		steps = append(steps, t.byCaches)
	}
	if !spread {
		steps = append(steps, func() { t.takeWhole(t.cores(), byCore, func(int) int { return perCore(m) }) })
	}
	for _, step := range append(steps, t.rest) {
		if step(); t.need < 1 {
			return t.taken, nil
		}
	}
	return cpuset.New(), errors.New("failed to allocate cpus")
}

// distributed takes n of the free CPUs from as few NUMA nodes as they fit into, and then from each the same number, in groups that stay together.
func distributed(m *topology.Machine, free cpuset.CPUSet, n, group int, sockets bool) (cpuset.CPUSet, error) {
	if n < 1 {
		return cpuset.New(), nil
	}
	if n > free.Size() {
		return cpuset.New(), short(n, free)
	}
	d := &spreader{m: m, free: free, n: n, group: group, sockets: sockets, freeOn: map[int]int{}}
	d.nodes = (&taker{m: m, free: free}).nodes()
	for _, n := range d.nodes {
		d.freeOn[n] = inside(m, free, byNode, n).Size()
	}
	if n%group == 0 {
		groups := n / group
		perNode := ((len(m.CPUs)-1)/group)/len(m.Nodes) + 1
		for k := (groups-1)/perNode + 1; k <= min(groups, len(d.nodes)); k++ {
			if c := d.best(k); c != nil {
				return d.take(c)
			}
		}
	}
	return packed(m, free, n, false, false)
}

// spreader looks for NUMA nodes to spread over.
type spreader struct {
	m        *topology.Machine
	free     cpuset.CPUSet
	nodes    []int
	n, group int
	sockets  bool // nodes of one socket are better than balance
	freeOn   map[int]int
}

// combo is a set of nodes, and those of them that give what does not divide evenly.
type combo struct {
	nodes, extra []int
	balance      float64 // of what stays free: less is better
	oneSocket    bool
}

// each calls fn for every choice of k of the list, in order.
func each(list []int, k int, fn func([]int)) {
	var grow func(rest, have []int)
	grow = func(rest, have []int) {
		if len(have) == k {
			fn(have)
			return
		}
		for i := range rest {
			grow(rest[i+1:], append(slices.Clone(have), rest[i]))
		}
	}
	grow(list, nil)
}

// share is what each of the nodes gives for certain.
func (d *spreader) share(nodes []int, bounded bool) int {
	share := d.n / len(nodes) / d.group * d.group
	for _, n := range nodes {
		if bounded {
			share = min(share, d.freeOn[n]/d.group*d.group)
		}
	}
	return share
}

// best is the best combination of k nodes; nil if none is even enough.
func (d *spreader) best(k int) *combo {
	var best *combo
	each(d.nodes, k, func(nodes []int) {
		if c := d.judge(nodes); c != nil && (best == nil || c.better(best, d.sockets)) {
			best = c
		}
	})
	return best
}

func (c *combo) better(o *combo, sockets bool) bool {
	if sockets && c.oneSocket != o.oneSocket {
		return c.oneSocket
	}
	return c.balance < o.balance
}

func (d *spreader) judge(nodes []int) *combo {
	groups := 0
	for _, n := range nodes {
		groups += d.freeOn[n] / d.group
	}
	if groups*d.group < d.n {
		return nil
	}
	share := d.share(nodes, d.sockets)
	left := map[int]int{}
	for _, n := range d.nodes {
		left[n] = d.freeOn[n]
	}
	for _, n := range nodes {
		if left[n] -= share; left[n] < 0 {
			return nil
		}
	}
	c := &combo{nodes: nodes, balance: math.MaxFloat64, oneSocket: d.inOneSocket(nodes)}
	rest := d.n - share*len(nodes)
	if rest == 0 {
		c.balance = deviation(left)
		return c
	}
	var can []int
	for _, n := range nodes {
		if left[n] >= d.group {
			can = append(can, n)
		}
	}
	for k := len(can); k >= 1; k-- {
		each(can, k, func(extra []int) {
			if b, ok := d.spreadRest(left, extra, rest); ok && b < c.balance {
				c.balance, c.extra = b, extra
			}
		})
	}
	return c
}

// spreadRest is the balance after extra has given the rest.
func (d *spreader) spreadRest(left map[int]int, extra []int, rest int) (float64, bool) {
	sum, after := 0, map[int]int{}
	for n, v := range left {
		after[n] = v
	}
	for _, n := range extra {
		sum += left[n] / d.group * d.group
	}
	if sum < rest {
		return 0, false
	}
	for rest > 0 {
		for _, n := range extra {
			if rest > 0 && after[n] >= d.group {
				after[n] -= d.group
				rest -= d.group
			}
		}
	}
	return deviation(after), true
}

// deviation is how unequal values are, to a thousandth.
func deviation(values map[int]int) float64 {
	round := func(f float64) float64 { return math.Round(f*1000) / 1000 }
	sum := 0.0
	for _, v := range values {
		sum += float64(v)
	}
	mean := round(sum / float64(len(values)))
	sum = 0
	for _, v := range values {
		sum += (float64(v) - mean) * (float64(v) - mean)
	}
	return round(math.Sqrt(sum / float64(len(values))))
}

func (d *spreader) inOneSocket(nodes []int) bool {
	in := cpuset.New()
	for _, n := range nodes {
		in = in.Union(inside(d.m, d.m.All(), byNode, n))
	}
	return d.m.Count(in, bySocket) == 1
}

func (d *spreader) take(c *combo) (cpuset.CPUSet, error) {
	taken := cpuset.New()
	from := func(node, n int) error {
		set, err := packed(d.m, inside(d.m, d.free.Difference(taken), byNode, node), n, false, false)
		taken = taken.Union(set)
		return err
	}
	share := d.share(c.nodes, true)
	for _, n := range c.nodes {
		if err := from(n, share); err != nil {
			return taken, err
		}
	}
	rest := d.n - taken.Size()
	for rest > 0 {
		before := rest
		for _, n := range c.extra {
			if rest > 0 && inside(d.m, d.free.Difference(taken), byNode, n).Size() >= d.group {
				if err := from(n, d.group); err != nil {
					return taken, err
				}
				rest -= d.group
			}
		}
		if rest == before {
			return cpuset.New(), fmt.Errorf("accounting error, not enough CPUs allocated, remaining: %d", rest)
		}
	}
	return taken, nil
}
