package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"k8s.io/utils/cpuset"
)

// CPU is where one logical CPU stands. Cores and caches are named by the lowest CPU in them, since the kernel's own numbers are unique only
// within a socket.
type CPU struct {
	ID, Socket, Node, Core int
	Cache                  int // the last cache that cores share, below the socket
}

// Node is a NUMA node.
type Node struct {
	ID        int
	Memory    uint64            // bytes
	Huge      map[uint64]uint64 // pages by their size in bytes
	Distances []uint64          // to the nodes, by their number
}

// Machine is the CPUs, online ones only, and the nodes, both by number.
type Machine struct {
	CPUs  []CPU
	Nodes []Node
}

// Read reads a machine below root ("/sys"). One without NUMA is one node.
func Read(root string) (*Machine, error) {
	online, err := readSet(filepath.Join(root, "devices/system/cpu/online"))
	if err != nil {
		return nil, fmt.Errorf("read the topology: %w", err)
	}
	m := &Machine{}
	ofNode := map[int]int{}
	nodes, err := readSet(filepath.Join(root, "devices/system/node/online"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the topology: %w", err)
	}
	for _, id := range nodes.List() {
		n, cpus, err := readNode(filepath.Join(root, "devices/system/node", "node"+strconv.Itoa(id)), id)
		if err != nil {
			return nil, fmt.Errorf("read NUMA node %d: %w", id, err)
		}
		m.Nodes = append(m.Nodes, n)
		for _, c := range cpus.List() {
			ofNode[c] = id
		}
	}
	if len(m.Nodes) == 0 {
		m.Nodes = []Node{{Distances: []uint64{10}}}
	}
	for _, id := range online.List() {
		if _, ok := ofNode[id]; !ok { // nobody's: as those of a machine without NUMA
			ofNode[id] = m.Nodes[0].ID
		}
		c, err := readCPU(filepath.Join(root, "devices/system/cpu", "cpu"+strconv.Itoa(id)), id)
		if err != nil {
			return nil, fmt.Errorf("read CPU %d: %w", id, err)
		}
		c.Node = ofNode[id]
		m.CPUs = append(m.CPUs, c)
	}
	return m, nil
}

func readNode(dir string, id int) (Node, cpuset.CPUSet, error) {
	n := Node{ID: id, Huge: map[uint64]uint64{}}
	cpus, err := readSet(filepath.Join(dir, "cpulist"))
	if err != nil {
		return n, cpus, err
	}
	mem, err := os.ReadFile(filepath.Join(dir, "meminfo"))
	if err != nil {
		return n, cpus, err
	}
	for line := range strings.Lines(string(mem)) { // "Node 0 MemTotal:       16331752 kB"
		if w := strings.Fields(line); len(w) >= 4 && w[2] == "MemTotal:" {
			kb, err := strconv.ParseUint(w[3], 10, 64)
			if err != nil {
				return n, cpus, err
			}
			n.Memory = kb << 10
		}
	}
	if line, err := os.ReadFile(filepath.Join(dir, "distance")); err == nil {
		for _, w := range strings.Fields(string(line)) {
			d, err := strconv.ParseUint(w, 10, 64)
			if err != nil {
				return n, cpus, fmt.Errorf("distance %q: %w", w, err)
			}
			n.Distances = append(n.Distances, d)
		}
	}
	pages, err := filepath.Glob(filepath.Join(dir, "hugepages/hugepages-*kB"))
	if err != nil {
		return n, cpus, err
	}
	for _, dir := range pages {
		size, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB"), 10, 64)
		if err != nil {
			return n, cpus, fmt.Errorf("%s: %w", filepath.Base(dir), err)
		}
		have, err := readInt(filepath.Join(dir, "nr_hugepages"))
		if err != nil {
			return n, cpus, err
		}
		n.Huge[size<<10] = uint64(have)
	}
	return n, cpus, nil
}

func readCPU(dir string, id int) (CPU, error) {
	c := CPU{ID: id, Core: id, Cache: -1}
	socket, err := readInt(filepath.Join(dir, "topology/physical_package_id"))
	switch {
	case errors.Is(err, fs.ErrNotExist): // a kernel that says nothing: every CPU is a core of its own
	case err != nil:
		return c, err
	default:
		c.Socket = max(socket, 0)
	}
	for _, name := range []string{"core_cpus_list", "thread_siblings_list"} {
		if s, err := readSet(filepath.Join(dir, "topology", name)); err == nil && s.Size() > 0 {
			c.Core = s.List()[0]
			break
		}
	}
	level := 0
	caches, err := filepath.Glob(filepath.Join(dir, "cache/index*"))
	if err != nil {
		return c, err
	}
	for _, cache := range caches {
		l, err := readInt(filepath.Join(cache, "level"))
		if err != nil || l <= level {
			continue
		}
		if s, err := readSet(filepath.Join(cache, "shared_cpu_list")); err == nil && s.Size() > 0 {
			level, c.Cache = l, s.List()[0]
		}
	}
	if c.Cache < 0 { // none is known: all of the socket's
		c.Cache = -1 - c.Socket
	}
	return c, nil
}

func readSet(path string) (cpuset.CPUSet, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return cpuset.New(), err
	}
	s, err := ParseSet(strings.TrimSpace(string(b)))
	if err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// maxID is the highest number that a CPU or a node can have: far more than the kernel can be built for.
const maxID = 1<<16 - 1

// ParseSet reads a list of CPUs or nodes, as "0-3,8". One with numbers that none can have is refused, so that it takes no memory.
func ParseSet(text string) (cpuset.CPUSet, error) {
	for id := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '-' }) {
		if n, err := strconv.Atoi(id); errors.Is(err, strconv.ErrRange) || n > maxID {
			return cpuset.New(), fmt.Errorf("%q: no CPU has a number above %d", text, maxID)
		}
	}
	return cpuset.Parse(text)
}

func readInt(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// NodeIDs are the numbers of the NUMA nodes.
func (m *Machine) NodeIDs() (out []int) {
	for i := range m.Nodes {
		out = append(out, m.Nodes[i].ID)
	}
	return out
}

// All are the machine's CPUs.
func (m *Machine) All() cpuset.CPUSet { return m.Where(func(CPU) bool { return true }) }

// Where are the CPUs for which keep is true.
func (m *Machine) Where(keep func(CPU) bool) cpuset.CPUSet {
	var ids []int
	for _, c := range m.CPUs {
		if keep(c) {
			ids = append(ids, c.ID)
		}
	}
	return cpuset.New(ids...)
}

// CPU finds a CPU by its number.
func (m *Machine) CPU(id int) (CPU, bool) {
	i, ok := slices.BinarySearchFunc(m.CPUs, id, func(c CPU, id int) int { return c.ID - id })
	if !ok {
		return CPU{}, false
	}
	return m.CPUs[i], true
}

// Count is the number of different values that of has over the CPUs in set.
func (m *Machine) Count(set cpuset.CPUSet, of func(CPU) int) int {
	seen := map[int]bool{}
	for _, id := range set.UnsortedList() {
		if c, ok := m.CPU(id); ok {
			seen[of(c)] = true
		}
	}
	return len(seen)
}
