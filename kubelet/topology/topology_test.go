package topology

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/tools/txtar"
)

// hint writes "0,1*" or "any".
func hint(h Hint) string {
	s := h.Nodes.String()
	if h.Any {
		s = "any"
	}
	if h.Preferred {
		s += "*"
	}
	return s
}

func want(nodes ...int) Hint { return Hint{Nodes: MaskOf(nodes...)} }
func best(nodes ...int) Hint { return Hint{Nodes: MaskOf(nodes...), Preferred: true} }

func numa(n int) *Machine {
	m := &Machine{}
	for i := range n {
		d := make([]uint64, n)
		for j := range n {
			d[j] = uint64(10 + 10*min((i-j)*(i-j), 4))
		}
		m.Nodes = append(m.Nodes, Node{ID: i, Distances: d})
	}
	return m
}

// The cases are those of the documentation of the topology manager and its policies.
func TestMerge(t *testing.T) {
	type row struct {
		name  string
		nodes int
		parts []Hints
		best  string // of best-effort and restricted
		in    bool   // restricted lets it in
		one   string // of single-numa-node
		oneIn bool
	}
	for _, c := range []row{
		{"nobody cares", 2, []Hints{{}, nil}, "0,1*", true, "any*", true},
		{"one part does not care", 2, []Hints{{"cpu": nil}, {"gpu": {best(1)}}}, "1*", true, "1*", true},
		{"nowhere", 2, []Hints{{"cpu": {}}}, "0,1", false, "any", false},
		{"both on one", 2, []Hints{{"cpu": {best(0), best(1), want(0, 1)}}, {"gpu": {best(1)}}}, "1*", true, "1*", true},
		{"the lower of two", 2, []Hints{{"cpu": {best(0), best(1)}}, {"gpu": {best(0), best(1)}}}, "0*", true, "0*", true},
		{"apart", 2, []Hints{{"cpu": {best(0), want(0, 1)}}, {"gpu": {best(1), want(0, 1)}}}, "0", false, "any", false},
		{"needs both", 2, []Hints{{"cpu": {best(0, 1)}}, {"gpu": {best(0), best(1), want(0, 1)}}}, "0,1", false, "any", false},
		{"both need both", 2, []Hints{{"cpu": {best(0, 1)}}, {"gpu": {best(0, 1)}}}, "0,1*", true, "any", false},
		{"two resources of one part", 2, []Hints{{"a": {best(0), best(1)}, "b": {best(1)}}}, "1*", true, "1*", true},
		{"as many as the greediest needs", 4, []Hints{{"cpu": {want(0, 1), want(0, 1, 2)}}, {"gpu": {want(0, 1, 2), want(0)}}}, "0,1", false, "any", false},
	} {
		for _, policy := range []string{BestEffort, Restricted, SingleNUMA} {
			p, err := NewPolicy(policy, "", nil, numa(c.nodes))
			if err != nil {
				t.Fatal(err)
			}
			h, in := p.Merge(c.parts)
			wantHint, wantIn := c.best, c.in || policy == BestEffort
			if policy == SingleNUMA {
				wantHint, wantIn = c.one, c.oneIn
			}
			if hint(h) != wantHint || in != wantIn {
				t.Errorf("%s, %s: got %s %v, want %s %v", c.name, policy, hint(h), in, wantHint, wantIn)
			}
		}
	}
}

func TestNodesNearEachOther(t *testing.T) {
	m := numa(4)
	m.Nodes[0].Distances = []uint64{10, 40, 20, 40}
	m.Nodes[2].Distances = []uint64{20, 40, 10, 40}
	parts := []Hints{{"cpu": {best(0, 1), best(0, 2), best(0, 3)}}}
	for closest, want := range map[string]string{"false": "0,1*", "true": "0,2*"} {
		p, err := NewPolicy(Restricted, ByPod, map[string]string{"prefer-closest-numa-nodes": closest}, m)
		if err != nil {
			t.Fatal(err)
		}
		if h, _ := p.Merge(parts); hint(h) != want {
			t.Errorf("closest=%s: got %s, want %s", closest, hint(h), want)
		}
	}
}

func TestPoliciesThatAreRefused(t *testing.T) {
	for want, f := range map[string]func() (Policy, error){
		`unknown policy: "best"; kubelet.topologyManagerPolicy is none, best-effort, restricted or single-numa-node`: func() (Policy, error) { return NewPolicy("best", "", nil, numa(1)) },
		`unknown scope: "node"`:                               func() (Policy, error) { return NewPolicy(Restricted, "node", nil, numa(1)) },
		`unsupported on machines with more than 8 NUMA Nodes`: func() (Policy, error) { return NewPolicy(Restricted, "", nil, numa(9)) },
		`unknown Topology Manager Policy option: "x"`:         func() (Policy, error) { return NewPolicy(Restricted, "", map[string]string{"x": "1"}, numa(1)) },
		`the minimum value of "max-allowable-numa-nodes" should not be less than 8`: func() (Policy, error) {
			return NewPolicy(Restricted, "", map[string]string{"max-allowable-numa-nodes": "4"}, numa(1))
		},
	} {
		if _, err := f(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := NewPolicy(Restricted, "", map[string]string{"max-allowable-numa-nodes": "16"}, numa(9)); err != nil {
		t.Error(err)
	}
}

func TestSubsets(t *testing.T) {
	got := ""
	Subsets([]int{0, 2, 3}, func(m Mask) { got += m.String() + " " })
	if want := "0 2 3 0,2 0,3 2,3 0,2,3 "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReadMachines(t *testing.T) {
	a, err := txtar.ParseFile("testdata/two-sockets.txtar")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	files, err := txtar.FS(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(root, files); err != nil {
		t.Fatal(err)
	}
	m, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(m.CPUs), "[{0 0 0 0 0} {1 1 1 1 1} {2 0 0 0 0} {3 1 1 1 1}]"; got != want {
		t.Errorf("CPUs: got %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(m.Nodes), "[{0 4194304000 map[2097152:8 1073741824:0] [10 21]} {1 8388608000 map[] [21 10]}]"; got != want {
		t.Errorf("nodes: got %s, want %s", got, want)
	}
}

func TestReadThisMachine(t *testing.T) {
	m, err := Read("/sys")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.CPUs) == 0 || len(m.Nodes) == 0 {
		t.Errorf("got %+v", m)
	}
}
