package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Stats are figures of a group. Memory counts bytes.
type Stats struct {
	CPU        time.Duration // used since the group was made
	Memory     uint64        // in use, page cache included
	WorkingSet uint64        // Memory without file pages that have not been used for long: what eviction looks at
	RSS        uint64
	PageFaults uint64
	MajorFault uint64
	Limit      uint64 // 0: none
	Swap       uint64
	Pids       uint64
}

// Stats reads the group's figures. A file that is missing counts as zero, because hosts differ in their controllers.
func (g *Group) Stats() Stats {
	if g.tree.Pure() {
		return g.statsUnified()
	}
	var s Stats
	s.CPU = time.Duration(readNumber(g.dirs["cpuacct"], "cpuacct.usage"))
	mem := g.dirs["memory"]
	stat := readTable(mem, "memory.stat")
	s.Memory = readNumber(mem, "memory.usage_in_bytes")
	s.WorkingSet = without(s.Memory, stat["total_inactive_file"])
	s.RSS, s.PageFaults, s.MajorFault, s.Swap = stat["total_rss"], stat["total_pgfault"], stat["total_pgmajfault"], stat["total_swap"]
	if limit := readNumber(mem, "memory.limit_in_bytes"); limit < 1<<60 {
		s.Limit = limit
	}
	s.Pids = readNumber(g.dirs["pids"], "pids.current")
	return s
}

func (g *Group) statsUnified() Stats {
	var s Stats
	dir := g.Dir()
	s.CPU = time.Duration(readTable(dir, "cpu.stat")["usage_usec"]) * time.Microsecond
	stat := readTable(dir, "memory.stat")
	s.Memory = readNumber(dir, "memory.current")
	s.WorkingSet = without(s.Memory, stat["inactive_file"])
	s.RSS, s.PageFaults, s.MajorFault = stat["anon"], stat["pgfault"], stat["pgmajfault"]
	s.Limit = readNumber(dir, "memory.max")
	s.Swap = readNumber(dir, "memory.swap.current")
	s.Pids = readNumber(dir, "pids.current")
	return s
}

func without(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

func readNumber(dir, file string) uint64 {
	if dir == "" {
		return 0
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0 // "max"
	}
	return n
}

func readTable(dir, file string) map[string]uint64 {
	t := map[string]uint64{}
	if dir == "" {
		return t
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return t
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		key, value, ok := strings.Cut(line, " ")
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			t[key] = n
		}
	}
	return t
}
