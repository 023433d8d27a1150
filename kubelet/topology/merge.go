package topology

import (
	"fmt"
	"strconv"
)

// Hint is one set of NUMA nodes from which a request could be met. Any means that it does not matter.
type Hint struct {
	Nodes     Mask
	Any       bool
	Preferred bool // it could not be met by fewer nodes
}

// Hints are what one part says, by resource. nil for a resource means that it does not matter where it comes from; empty, that it cannot be
// had from anywhere.
type Hints map[string][]Hint

// The policies.
const (
	None       = "none"
	BestEffort = "best-effort"
	Restricted = "restricted"
	SingleNUMA = "single-numa-node"
)

// The scopes.
const (
	ByContainer = "container"
	ByPod       = "pod"
)

// maxNodes is how many NUMA nodes are usual at most: the work doubles with each.
const maxNodes = 8

// Policy merges hints. Its zero value is no policy.
type Policy struct {
	Name      string
	Scope     string
	closest   bool             // prefer nodes that are near each other
	nodes     Mask             // all of the machine
	distances map[int][]uint64 // of each node to the others
}

// NewPolicy reads a policy, its scope and its options as Kubernetes names them. Empty names are the defaults.
func NewPolicy(name, scope string, options map[string]string, m *Machine) (Policy, error) {
	p := Policy{Name: name, Scope: scope, distances: map[int][]uint64{}}
	if name == "" {
		p.Name = None
	}
	if scope == "" {
		p.Scope = ByContainer
	}
	most := maxNodes
	for option, value := range options {
		switch option {
		case "prefer-closest-numa-nodes":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return p, fmt.Errorf("bad value for option %q: %w", option, err)
			}
			p.closest = on
		case "max-allowable-numa-nodes":
			n, err := strconv.Atoi(value)
			if err != nil {
				return p, fmt.Errorf("unable to convert policy option to integer %q: %w", option, err)
			}
			if n < maxNodes {
				return p, fmt.Errorf("the minimum value of %q should not be less than %d", option, maxNodes)
			}
			most = n
		default:
			return p, fmt.Errorf("unknown Topology Manager Policy option: %q", option)
		}
	}
	switch p.Name {
	case None:
		return p, nil
	case BestEffort, Restricted, SingleNUMA:
	default:
		return p, fmt.Errorf("unknown policy: %q; kubelet.topologyManagerPolicy is none, best-effort, restricted or single-numa-node", name)
	}
	if p.Scope != ByContainer && p.Scope != ByPod {
		return p, fmt.Errorf("unknown scope: %q", scope)
	}
	for _, n := range m.Nodes {
		p.nodes |= MaskOf(n.ID)
		p.distances[n.ID] = n.Distances
	}
	if p.nodes.Count() > most || len(m.Nodes) > 64 {
		return p, fmt.Errorf("unsupported on machines with more than %d NUMA Nodes", most)
	}
	return p, nil
}

// Merge finds the best hint that suits all parts, and says whether the policy lets the pod in with it.
func (p Policy) Merge(parts []Hints) (Hint, bool) {
	lists := p.lists(parts)
	best, found := Hint{}, false
	least := 0 // what the part that needs the most nodes needs
	for _, list := range lists {
		if n := narrowest(list); n > least {
			least = n
		}
	}
	permute(lists, func(combination []Hint) {
		h := p.combine(combination)
		if h.Nodes.Count() > 0 && (!found || p.better(h, best, least)) {
			best, found = h, true
		}
	})
	if !found {
		best = Hint{Nodes: p.nodes}
	}
	if p.Name == SingleNUMA && best.Nodes == p.nodes {
		best = Hint{Any: true, Preferred: best.Preferred}
	}
	return best, p.Name == BestEffort || best.Preferred
}

// lists is one list of hints for each resource of each part.
func (p Policy) lists(parts []Hints) (out [][]Hint) {
	add := func(list []Hint) {
		if p.Name == SingleNUMA {
			var kept []Hint
			for _, h := range list {
				if h.Preferred && (h.Any || h.Nodes.Count() == 1) {
					kept = append(kept, h)
				}
			}
			list = kept
		}
		out = append(out, list)
	}
	for _, hints := range parts {
		if len(hints) == 0 {
			add([]Hint{{Any: true, Preferred: true}})
		}
		for _, list := range hints {
			switch {
			case list == nil:
				add([]Hint{{Any: true, Preferred: true}})
			case len(list) == 0:
				add([]Hint{{Any: true}})
			default:
				add(list)
			}
		}
	}
	return out
}

// narrowest is the least number of nodes in a list; 0 if it does not matter.
func narrowest(list []Hint) (n int) {
	for _, h := range list {
		if !h.Any && (n == 0 || h.Nodes.Count() < n) {
			n = h.Nodes.Count()
		}
	}
	return n
}

// permute calls fn with each way to take one hint of each list.
func permute(lists [][]Hint, fn func([]Hint)) {
	taken := make([]Hint, len(lists))
	var take func(int)
	take = func(i int) {
		if i == len(lists) {
			fn(taken)
			return
		}
		for _, h := range lists[i] {
			taken[i] = h
			take(i + 1)
		}
	}
	take(0)
}

// combine is what all of the hints have in common. It is preferred only if all are, and mean the same nodes.
func (p Policy) combine(hints []Hint) Hint {
	out := Hint{Nodes: p.nodes, Preferred: true}
	first, seen := Mask(0), false
	for _, h := range hints {
		out.Preferred = out.Preferred && h.Preferred
		if h.Any {
			continue
		}
		if !seen {
			first, seen = h.Nodes, true
		}
		out.Preferred = out.Preferred && h.Nodes == first
		out.Nodes &= h.Nodes
	}
	return out
}

// better says whether a is to be taken instead of b. Of hints that are not preferred, the one is best whose number of nodes comes closest to
// least from below: it holds what the most demanding part needs.
func (p Policy) better(a, b Hint, least int) bool {
	if a.Preferred != b.Preferred {
		return a.Preferred
	}
	x, y := a.Nodes.Count(), b.Nodes.Count()
	switch {
	case a.Preferred, y > least:
		return p.fitter(a.Nodes, b.Nodes)
	case y == least:
		return x == least && p.fitter(a.Nodes, b.Nodes)
	case x > least:
		return false
	case x != y:
		return x > y
	}
	return p.fitter(a.Nodes, b.Nodes)
}

// fitter compares sets of nodes: the narrower, and, where that is asked for, of equally large ones those that are nearer to each other.
func (p Policy) fitter(a, b Mask) bool {
	if p.closest && p.Name != SingleNUMA && a.Count() == b.Count() {
		if x, y := p.distance(a), p.distance(b); x != y {
			return x < y
		}
	}
	return a.Narrower(b)
}

// distance is the average between the nodes of m, each to itself included.
func (p Policy) distance(m Mask) float64 {
	sum, n := 0.0, 0.0
	for _, a := range m.Nodes() {
		for _, b := range m.Nodes() {
			if b < len(p.distances[a]) {
				sum += float64(p.distances[a][b])
			}
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / n
}
