package cpu

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/cpuset"

	"proa.dev/kubelet/topology"
)

// machine has sockets with nodes with caches with cores with threads. Threads of a core are half the machine apart, as on x86; CPUs of
// different sockets take turns if mixed.
func machine(sockets, nodes, caches, cores, threads int, mixed bool) *topology.Machine {
	m := &topology.Machine{}
	perSocket := nodes * caches * cores
	total := sockets * perSocket
	for id := range total * threads {
		core := id % total
		s, in := core/perSocket, core%perSocket
		if mixed {
			s, in = core%sockets, core/sockets
		}
		node := s*nodes + in/(caches*cores)
		m.CPUs = append(m.CPUs, topology.CPU{ID: id, Socket: s, Node: node, Core: core, Cache: s*1000 + in/cores})
	}
	for n := range sockets * nodes {
		m.Nodes = append(m.Nodes, topology.Node{ID: n})
	}
	return m
}

func set(t testing.TB, text string) cpuset.CPUSet {
	t.Helper()
	s, err := cpuset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The machines are those by which the policies are documented: one socket with 4 cores of 2 threads; two sockets with 3 cores each, mixed; two
// sockets with 10 cores each.
func TestPacked(t *testing.T) {
	one, two, large := machine(1, 1, 1, 4, 2, false), machine(2, 1, 1, 3, 2, true), machine(2, 1, 1, 10, 2, false)
	for _, c := range []struct {
		name           string
		m              *topology.Machine
		free           string
		n              int
		spread, caches bool
		want           string
	}{
		{"nothing", one, "0-7", 0, false, false, ""},
		{"one thread", one, "0-7", 1, false, false, "0"},
		{"a core", one, "0-7", 2, false, false, "0,4"},
		{"a core and a half", one, "0-7", 3, false, false, "0-1,4"},
		{"the half core first", one, "1-7", 1, false, false, "4"},
		{"whole cores before halves", one, "1-7", 2, false, false, "1,5"},
		{"everything", one, "0-7", 8, false, false, "0-7"},
		{"spread over cores", one, "0-7", 3, true, false, "0-2"},
		{"a socket", two, "0-11", 6, false, false, "0,2,4,6,8,10"},
		{"the socket with fewer free", two, "1-11", 2, false, false, "2,8"},
		{"a socket and a core", two, "0-11", 8, false, false, "0-2,4,6-8,10"},
		{"across sockets", two, "0-2,6-8", 6, false, false, "0-2,6-8"},
		{"a whole socket, then cores", large, "0-39", 24, false, false, "0-11,20-31"},
		{"within a cache", machine(1, 1, 4, 4, 2, false), "0-31", 8, false, true, "0-3,16-19"},
		{"a part of a cache", machine(1, 1, 4, 4, 2, false), "1-15,17-31", 8, false, true, "4-7,20-23"},
		{"an odd part of a cache", machine(1, 1, 4, 4, 2, false), "0-31", 3, false, true, "0-1,16"},
		{"a cache and a part", machine(1, 1, 4, 4, 2, false), "0-31", 10, false, true, "0-4,16-20"},
	} {
		got, err := packed(c.m, set(t, c.free), c.n, c.spread, c.caches)
		if err != nil || got.String() != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.name, got, err, c.want)
		}
	}
	_, err := packed(one, set(t, "0-1"), 3, false, false)
	if want := "not enough cpus available to satisfy request: requested=3, available=2"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Where CPUs are offline, sockets are of different sizes: a socket is whole when all that it has is free.
func TestPackedOnUnequalSockets(t *testing.T) {
	m := machine(2, 1, 1, 4, 1, false)
	m.CPUs = m.CPUs[:6] // 0-3 and 4-5
	if got, err := packed(m, set(t, "1-5"), 3, false, false); err != nil || got.String() != "1,4-5" {
		t.Errorf("got %s, %v", got, err)
	}
}

// The cases are those of KEP-2902.
func TestDistributed(t *testing.T) {
	m := machine(2, 1, 1, 4, 2, false) // 16 CPUs on 2 nodes: 0-3,8-11 and 4-7,12-15
	for _, c := range []struct {
		name     string
		m        *topology.Machine
		free     string
		n, group int
		sockets  bool
		want     string
	}{
		{"fits on one node", m, "0-15", 6, 1, false, "0-2,8-10"},
		{"even over two", m, "0-15", 10, 1, false, "0-2,4-6,8-9,12-13"},
		{"by cores", m, "0-15", 12, 2, false, "0-2,4-6,8-10,12-14"},
		{"the rest goes where more is free", m, "0-15", 9, 1, false, "0-2,4-5,8-9,12-13"},
		{"not even: packed", m, "0-3,8-11,4", 9, 1, false, "0-4,8-11"},
		{"not by cores: packed", m, "0-15", 3, 2, false, "0-1,8"},
		{"two nodes of one socket", machine(2, 2, 1, 2, 2, false), "0-15", 6, 2, true, "0-2,8-10"},
	} {
		got, err := distributed(c.m, set(t, c.free), c.n, c.group, c.sockets)
		if err != nil || got.String() != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.name, got, err, c.want)
		}
	}
}

// Whatever the machine, what is free and how many: as many as asked for, all of them free; or there are too few.
func TestTakeAlwaysGivesWhatThereIs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		m := machine(1+r.IntN(3), 1+r.IntN(3), 1+r.IntN(3), 1+r.IntN(4), 1+r.IntN(2), r.IntN(2) == 0)
		var ids []int
		for _, c := range m.CPUs {
			if r.IntN(3) > 0 {
				ids = append(ids, c.ID)
			}
		}
		free, n := cpuset.New(ids...), r.IntN(len(m.CPUs)+2)
		for name, take := range map[string]func() (cpuset.CPUSet, error){
			"packed": func() (cpuset.CPUSet, error) { return packed(m, free, n, false, false) }, "spread": func() (cpuset.CPUSet, error) { return packed(m, free, n, true, false) },
			"caches":  func() (cpuset.CPUSet, error) { return packed(m, free, n, false, true) },
			"nodes":   func() (cpuset.CPUSet, error) { return distributed(m, free, n, 1, false) },
			"cores":   func() (cpuset.CPUSet, error) { return distributed(m, free, n, perCore(m), false) },
			"sockets": func() (cpuset.CPUSet, error) { return distributed(m, free, n, perCore(m), true) },
		} {
			got, err := take()
			if n > free.Size() {
				if err == nil {
					t.Fatalf("%s: %d of %s gave %s", name, n, free, got)
				}
				continue
			}
			if err != nil || got.Size() != n || !got.IsSubsetOf(free) {
				t.Fatalf("%s: %d of %s on %+v: got %s, %v", name, n, free, m, got, err)
			}
		}
	}
}

func pod(uid string, cpus ...string) *core.Pod {
	p := &core.Pod{}
	p.UID, p.Status.QOSClass = types.UID(uid), core.PodQOSGuaranteed
	for i, n := range cpus {
		c := core.Container{Name: string(rune('a' + i))}
		c.Resources.Requests = core.ResourceList{core.ResourceCPU: resource.MustParse(n)}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	return p
}

func static(t *testing.T, root string, m *topology.Machine, options ...string) *Manager {
	t.Helper()
	o := map[string]string{}
	for _, name := range options {
		o[name] = "true"
	}
	made, err := New(Config{Policy: Static, Options: o, Reserved: cpuset.New(0), Machine: m, Root: root, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (m *Manager) allocate(p *core.Pod, hint topology.Hint) error {
	for _, list := range [][]core.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if err := m.Allocate(p, &list[i], hint); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Manager) at(uid types.UID, container string) string {
	s, own := m.Set(uid, container)
	if own {
		s += "!"
	}
	return s
}

func TestExclusiveCPUsOverRestarts(t *testing.T) {
	root, box := t.TempDir(), machine(1, 1, 1, 4, 2, false)
	m := static(t, root, box)
	if err := m.allocate(pod("p", "2", "500m", "1"), topology.Hint{Any: true}); err != nil {
		t.Fatal(err)
	}
	m = static(t, root, box)
	if got, want := m.at("p", "a")+" "+m.at("p", "b")+" "+m.at("p", "c")+" "+m.at("q", "a"), "1,5! 0,2-3,6-7 4! 0,2-3,6-7"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := m.allocate(pod("q", "5"), topology.Hint{Any: true}); err == nil {
		t.Error("more CPUs given than are free beside the reserved one")
	}
	m.Keep(func(types.UID) bool { return false })
	if got := m.at("q", "a"); got != "0-7" {
		t.Errorf("after the last pod: %s", got)
	}
}

func TestWhoGetsCPUs(t *testing.T) {
	burstable, budget := pod("p", "2"), pod("p", "2")
	burstable.Status.QOSClass = core.PodQOSBurstable
	budget.Spec.Resources = &core.ResourceRequirements{}
	for name, c := range map[string]struct {
		p    *core.Pod
		want int
	}{"guaranteed": {pod("p", "2"), 2}, "burstable": {burstable, 0}, "a part of one": {pod("p", "1500m"), 0}, "resources of the pod": {budget, 0}} {
		if got := Whole(c.p, &c.p.Spec.Containers[0]); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestInitContainersPassTheirCPUsOn(t *testing.T) {
	m := static(t, t.TempDir(), machine(1, 1, 1, 4, 2, false))
	p := pod("p", "2", "2")
	p.Spec.InitContainers = pod("p", "4").Spec.Containers
	p.Spec.InitContainers[0].Name = "init"
	if err := m.allocate(p, topology.Hint{Any: true}); err != nil {
		t.Fatal(err)
	}
	if got, want := m.at("p", "init")+" "+m.at("p", "a")+" "+m.at("p", "b")+" "+m.at("q", ""), "1-2,5-6! 1,5! 2,6! 0,3-4,7"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	m.Release("p")
	if got := m.at("q", ""); got != "0-7" {
		t.Errorf("after the pod: %s", got)
	}
}

func TestWholeCoresOnly(t *testing.T) {
	m := static(t, t.TempDir(), machine(1, 1, 1, 4, 2, false), "full-pcpus-only")
	for n, want := range map[string]string{
		"3": "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2",
		"8": "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 6, requested CPUs = 8, CPUs per core = 2",
	} {
		err := m.allocate(pod("p", n), topology.Hint{Any: true})
		var e AlignmentError
		if !errors.As(err, &e) || err.Error() != want || e.Reason() != "SMTAlignmentError" {
			t.Errorf("%s: got %v, want %s", n, err, want)
		}
	}
	if err := m.allocate(pod("p", "6"), topology.Hint{Any: true}); err != nil || m.at("p", "a") != "1-3,5-7!" {
		t.Errorf("got %s, %v", m.at("p", "a"), err)
	}
}

func TestStrictReservation(t *testing.T) {
	m := static(t, t.TempDir(), machine(1, 1, 1, 4, 2, false), "strict-cpu-reservation")
	if got := m.at("p", "a"); got != "1-7" {
		t.Errorf("shared: %s", got)
	}
}

func TestHints(t *testing.T) {
	m := static(t, t.TempDir(), machine(2, 1, 1, 4, 2, false))
	show := func(p *core.Pod) string {
		var out []string
		for _, h := range m.Hints(p, &p.Spec.Containers[0])["cpu"] {
			s := h.Nodes.String()
			if h.Preferred {
				s += "*"
			}
			out = append(out, s)
		}
		return strings.Join(out, " ")
	}
	for n, want := range map[string]string{"2": "0* 1* 0,1", "8": "1* 0,1", "10": "0,1*", "16": ""} {
		if got := show(pod("p", n)); got != want {
			t.Errorf("%s: got %q, want %q", n, got, want)
		}
	}
	if err := m.allocate(pod("p", "2"), topology.Hint{Nodes: topology.MaskOf(1)}); err != nil || m.at("p", "a") != "4,12!" {
		t.Errorf("on node 1: got %s, %v", m.at("p", "a"), err)
	}
	if got := show(pod("p", "2")); got != "1* 0,1" {
		t.Errorf("of what it has: %s", got)
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	root := t.TempDir()
	box := machine(1, 1, 1, 4, 2, false)
	if err := static(t, root, box).allocate(pod("p", "2"), topology.Hint{Any: true}); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]Config{
		`unknown policy: "dynamic"`:                    {Policy: "dynamic"},
		`unknown CPU Manager Policy option: "x"`:       {Policy: Static, Options: map[string]string{"x": "true"}},
		`bad value for option "full-pcpus-only"`:       {Policy: Static, Options: map[string]string{"full-pcpus-only": "yes"}},
		"can not be used at the same time":             {Policy: Static, Options: map[string]string{"full-pcpus-only": "true", "distribute-cpus-across-cores": "true"}},
		"greater than zero":                            {Policy: Static},
		"not all online":                               {Policy: Static, Reserved: cpuset.New(9)},
		`reserved cpus "1" are those of container "a"`: {Policy: Static, Reserved: cpuset.New(0, 1), Root: root},
	} {
		c.Machine = box
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
