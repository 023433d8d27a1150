package scheduler

import (
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
)

// counterKind says what a count of pods is for.
type counterKind uint8

const (
	spreadHard counterKind = iota // topology spread that must hold
	spreadSoft                    // topology spread that should
	together                      // required affinity
	apart                         // required anti-affinity of the pod
	keptAway                      // required anti-affinity of pods that are placed
	prefer                        // preferred affinity, weight < 0: anti-affinity
	likedBy                       // preferences of pods that are placed: the count is the sum of their weights
)

// counter counts matching pods per node and per domain, which is all nodes with one value of a label.
type counter struct {
	kind counterKind
	key  string
	host bool // every node is a domain of its own
	on   func(*node) int32
	self int32 // 1: the pod itself would count
	rule *spreadRule
	// weight of a preference.
	weight int32

	cells   []count
	domains map[string]*domain
	levels  map[int32]int32 // host and spreadHard: how many nodes have so many pods
	total   int64
}

// count is what a counter holds of one node.
type count struct {
	pods   int32
	domain *domain // nil: none
	member bool    // counted in levels or in domain.nodes
}

// domain is all nodes with one value.
type domain struct {
	pods  int64
	nodes int32
}

// hostname is the label whose values are the nodes themselves.
const hostname = core.LabelHostname

// newCounters makes a counter for everything in which a class looks at other pods.
func newCounters(c *cluster, k *class) []*counter {
	var all []*counter
	add := func(t *counter) {
		t.host = t.key == hostname
		if t.host {
			t.levels = map[int32]int32{}
		} else {
			t.domains = map[string]*domain{}
		}
		all = append(all, t)
	}
	spreadCounters(k, add)
	affinityCounters(c, k, add)
	return all
}

// forget takes out what take counted for a node.
func (t *counter) forget(id int) {
	for id >= len(t.cells) {
		t.cells = append(t.cells, count{})
	}
	x := &t.cells[id]
	if !x.member {
		return
	}
	t.total -= int64(x.pods)
	if x.domain != nil {
		x.domain.pods -= int64(x.pods)
		x.domain.nodes--
	} else if t.levels[x.pods]--; t.levels[x.pods] == 0 {
		delete(t.levels, x.pods)
	}
	*x = count{}
}

// take counts a node; selected says whether the pod's own node selector takes it.
func (t *counter) take(k *class, n *node, selected bool) {
	value, ok := n.obj.Labels[t.key]
	if !ok || t.rule != nil && !t.rule.includes(k, n, selected) {
		return
	}
	x := &t.cells[n.id]
	x.member, x.pods = true, t.on(n)
	t.total += int64(x.pods)
	if t.host {
		t.levels[x.pods]++
		return
	}
	x.domain = t.domains[value]
	if x.domain == nil {
		x.domain = &domain{}
		t.domains[value] = x.domain
	}
	x.domain.pods += int64(x.pods)
	x.domain.nodes++
}

// writeKey adds to the key of a node's group what the verdict of this counter hangs on beyond the node: its domain; or, where
// the domain is the node, the count, if it is compared with that of other nodes.
func (t *counter) writeKey(b *strings.Builder, n *node) {
	b.WriteByte(0)
	x := &t.cells[n.id]
	switch {
	case !x.member:
		b.WriteByte('-')
	case !t.host:
		b.WriteString("=" + n.obj.Labels[t.key])
	case t.kind == spreadHard:
		b.WriteString(strconv.Itoa(int(x.pods)))
	case t.kind == together:
		b.WriteString(strconv.FormatBool(x.pods > 0))
	}
}

// pods is how many pods count in the domain of a node; false: it has none.
func (t *counter) pods(n *node) (int64, bool) {
	x := &t.cells[n.id]
	switch {
	case !x.member:
		return 0, false
	case x.domain != nil:
		return x.domain.pods, true
	}
	return int64(x.pods), true
}

// least is the smallest count of any domain, and how many domains there are.
func (t *counter) least() (pods int64, domains int) {
	pods = -1
	if t.host {
		for level, nodes := range t.levels {
			domains += int(nodes)
			if pods < 0 || int64(level) < pods {
				pods = int64(level)
			}
		}
		return max(pods, 0), domains
	}
	for _, d := range t.domains {
		if d.nodes == 0 {
			continue
		}
		domains++
		if pods < 0 || d.pods < pods {
			pods = d.pods
		}
	}
	return max(pods, 0), domains
}

// most is the greatest count of any domain that is not a host.
func (t *counter) most() (pods int64) {
	for _, d := range t.domains {
		pods = max(pods, d.pods)
	}
	return pods
}
