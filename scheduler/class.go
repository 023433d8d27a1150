package scheduler

import (
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"proa.dev/client"
	"proa.dev/scheduler/devices"
)

// class is what pods that differ in name only have in common, and what each node means to them.
type class struct {
	pod       *core.Pod // one of them
	set       *labelSet
	req       resources
	ports     []hostPort
	choosy    bool     // has a node selector or affinity
	pinned    []string // the only nodes that it can match, by name, as pods of DaemonSets do; nil: any
	required  nodeaffinity.RequiredNodeAffinity
	preferred *nodeaffinity.PreferredSchedulingTerms
	claims    *claims
	devices   *devices.Ask // nil: it claims none
	anti      []*heldTerm
	wishes    []wish
	counters  []*counter
	images    []string
	verdicts  map[string]*verdict

	shape  int // of the cluster when the cells were made
	seen   int // the cluster's changes up to here are in the cells
	cells  []cell
	groups map[string]*group
	used   int // when the class was last asked for, in picks
}

// cell is what one node means to a class.
type cell struct {
	verdict *verdict // nil: it fits, as far as the node alone goes
	group   *group   // nil: the node is not there
	pos     int32    // in the heap of the group, if it fits
	score   int32
}

// group is the nodes that are alike in everything that looks beyond one node: their topology values.
type group struct {
	heap []int32 // ids of those that fit, the best first

	verdict *verdict // of the last look
	score   int32
}

// classKey tells pods apart that may have to be judged differently. Names of volumes do not matter, save claims: pods with claims
// are a class each.
func classKey(pod *core.Pod) string {
	var b strings.Builder
	b.WriteString(pod.Namespace)
	b.WriteByte(0)
	b.WriteString(string(controller(pod)))
	writeMap(&b, pod.Labels)
	b.WriteByte(0)
	writeMap(&b, pod.Spec.NodeSelector)
	b.WriteString(pod.Spec.NodeName)
	part := func(m interface{ Marshal() ([]byte, error) }) {
		data, err := m.Marshal()
		if err != nil {
			data = []byte(pod.UID) // cannot happen to a decoded object; then the pod is a class of its own
		}
		b.WriteString(strconv.Itoa(len(data)))
		b.WriteByte(':')
		b.Write(data)
	}
	if pod.Spec.Affinity != nil {
		part(pod.Spec.Affinity)
	}
	for i := range pod.Spec.Tolerations {
		part(&pod.Spec.Tolerations[i])
	}
	for i := range pod.Spec.TopologySpreadConstraints {
		part(&pod.Spec.TopologySpreadConstraints[i])
	}
	containers := func(cs []core.Container) {
		for i := range cs {
			c := &cs[i]
			b.WriteByte(1)
			b.WriteString(c.Image)
			if c.RestartPolicy != nil {
				b.WriteString(string(*c.RestartPolicy))
			}
			writeAmounts(&b, c.Resources.Requests)
			for j := range c.Ports {
				if c.Ports[j].HostPort > 0 {
					part(&c.Ports[j])
				}
			}
		}
	}
	containers(pod.Spec.Containers)
	containers(pod.Spec.InitContainers)
	writeAmounts(&b, pod.Spec.Overhead)
	if pod.Spec.Resources != nil {
		part(pod.Spec.Resources)
	}
	return b.String()
}

func writeAmounts(b *strings.Builder, l core.ResourceList) {
	m := make(map[string]string, len(l))
	for k, v := range l {
		m[string(k)] = v.String()
	}
	writeMap(b, m)
}

// newClass reads the rules of a pod. The cells come with the first look.
func newClass(view client.View, c *cluster, pod *core.Pod) *class {
	k := &class{
		pod: pod, set: c.labelSet(pod), req: requests(pod), ports: hostPorts(pod), claims: findClaims(view, pod), anti: c.antiTerms(pod), wishes: c.wishes(pod),
		required: nodeaffinity.GetRequiredNodeAffinity(pod), verdicts: map[string]*verdict{}, shape: -1,
	}
	if k.claims != nil {
		k.claims.usedElsewhere(c, pod)
	}
	a := pod.Spec.Affinity
	k.choosy = len(pod.Spec.NodeSelector) > 0 ||
		a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
	k.pinned = pinnedTo(pod)
	if a != nil && a.NodeAffinity != nil && len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		// Validation keeps malformed terms out; without that they would prefer nothing.
		if p, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution); err == nil {
			k.preferred = p
		}
	}
	for i := range pod.Spec.Containers {
		k.images = append(k.images, pod.Spec.Containers[i].Image)
	}
	return k
}

// update brings the cells up to the state of the cluster: looks at the nodes that changed, or at all where the shape did.
func (k *class) update(c *cluster) {
	if k.shape != c.shape || k.seen < c.base {
		k.shape = c.shape
		k.cells = make([]cell, len(c.nodes))
		k.groups = map[string]*group{}
		k.counters = newCounters(c, k)
		for id, n := range c.nodes {
			if n != nil {
				k.look(id, n)
			}
		}
		k.seen = c.end()
		return
	}
	for _, id := range c.changes[k.seen-c.base:] {
		for int(id) >= len(k.cells) {
			k.cells = append(k.cells, cell{})
		}
		k.look(int(id), c.nodes[id])
	}
	k.seen = c.end()
}

// look judges one node anew. n may be nil: the node has gone.
func (k *class) look(id int, n *node) {
	old := k.cells[id]
	for _, t := range k.counters {
		t.forget(id)
	}
	if old.group != nil && old.verdict == nil {
		k.pull(old.group, id)
	}
	if n == nil || n.obj == nil {
		k.cells[id] = cell{}
		return
	}
	selected := k.selects(n)
	for _, t := range k.counters {
		t.take(k, n, selected)
	}
	cl := &k.cells[id]
	cl.group = k.groupOf(n)
	cl.verdict = k.judge(n)
	if cl.verdict == nil {
		cl.verdict = k.judgeNeighbours(n)
	}
	if cl.verdict == nil {
		cl.score = k.rate(n)
		k.push(cl.group, id)
	}
}

// groupOf finds the group of a node by what its counters look at beyond the node.
func (k *class) groupOf(n *node) *group {
	key := ""
	if len(k.counters) > 0 {
		var b strings.Builder
		for _, t := range k.counters {
			t.writeKey(&b, n)
		}
		key = b.String()
	}
	g := k.groups[key]
	if g == nil {
		g = &group{}
		k.groups[key] = g
	}
	return g
}

// pick is the best node for a pod of this class; nil if there is none.
func (k *class) pick(c *cluster) *node {
	if k.alone(c) {
		return k.pickPinned(c)
	}
	k.update(c)
	best, bestScore := int32(-1), int32(0)
	for _, g := range k.groups {
		if len(g.heap) == 0 {
			continue
		}
		if g.verdict, g.score = k.judgeGroup(c.nodes[g.heap[0]]); g.verdict != nil {
			continue
		}
		id := g.heap[0]
		score := g.score + k.cells[id].score
		// Groups come in random order: of equals take the lowest id, so that a pick can be repeated.
		if best < 0 || score > bestScore || score == bestScore && before(id, best) {
			best, bestScore = id, score
		}
	}
	if best < 0 {
		return nil
	}
	return c.nodes[best]
}

// before orders nodes of equal score: scattered, so that classes do not all begin with the same node.
func before(a, b int32) bool { return uint32(a)*2654435761 < uint32(b)*2654435761 }

// The heap of a group, by score.

func (k *class) better(a, b int32) bool {
	if x, y := k.cells[a].score, k.cells[b].score; x != y {
		return x > y
	}
	return before(a, b)
}

func (k *class) push(g *group, id int) {
	k.cells[id].pos = int32(len(g.heap))
	g.heap = append(g.heap, int32(id))
	k.up(g, len(g.heap)-1)
}

func (k *class) pull(g *group, id int) {
	i, last := int(k.cells[id].pos), len(g.heap)-1
	if i != last {
		g.heap[i] = g.heap[last]
		k.cells[g.heap[i]].pos = int32(i)
	}
	g.heap = g.heap[:last]
	if i < last {
		k.up(g, i)
		k.down(g, i)
	}
}

func (k *class) up(g *group, i int) {
	for i > 0 {
		p := (i - 1) / 2
		if !k.better(g.heap[i], g.heap[p]) {
			return
		}
		k.swap(g, i, p)
		i = p
	}
}

func (k *class) down(g *group, i int) {
	for {
		best := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(g.heap); c++ {
			if k.better(g.heap[c], g.heap[best]) {
				best = c
			}
		}
		if best == i {
			return
		}
		k.swap(g, i, best)
		i = best
	}
}

func (k *class) swap(g *group, i, j int) {
	g.heap[i], g.heap[j] = g.heap[j], g.heap[i]
	k.cells[g.heap[i]].pos, k.cells[g.heap[j]].pos = int32(i), int32(j)
}
