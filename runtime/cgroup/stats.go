package cgroup

import (
	"fmt"
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
	SwapLeft   *uint64 // nil: there is no limit
	Pids       uint64
	// How long tasks have waited; nil where the kernel does not say: it does so for groups of v2.
	CPUPressure, MemoryPressure, IOPressure *Pressure
}

// Pressure is pressure stall information: some tasks waited, or all did (Full).
type Pressure struct{ Some, Full Stall }

// Stall is the share of time lost in the last 10, 60 and 300 seconds, in percent, and all of it in microseconds.
type Stall struct {
	Avg10, Avg60, Avg300 float64
	Total                uint64
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
	if both := readNumber(mem, "memory.memsw.limit_in_bytes"); both > 0 && both < 1<<60 {
		s.SwapLeft = new(without(without(both, s.Limit), s.Swap))
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
	if most, ok := readLimit(dir, "memory.swap.max"); ok {
		s.SwapLeft = new(without(most, s.Swap))
	}
	s.Pids = readNumber(dir, "pids.current")
	s.CPUPressure, s.MemoryPressure, s.IOPressure = readPressure(dir, "cpu.pressure"), readPressure(dir, "memory.pressure"), readPressure(dir, "io.pressure")
	return s
}

// readPressure reads "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" and the same of "full"; nil where there is nothing to read.
func readPressure(dir, file string) *Pressure {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil // no PSI in this kernel, or switched off: reading fails with EOPNOTSUPP then
	}
	var p Pressure
	for line := range strings.Lines(string(data)) {
		kind, rest, _ := strings.Cut(line, " ")
		var s Stall
		if n, _ := fmt.Sscanf(rest, "avg10=%f avg60=%f avg300=%f total=%d", &s.Avg10, &s.Avg60, &s.Avg300, &s.Total); n != 4 {
			continue
		}
		switch kind {
		case "some":
			p.Some = s
		case "full":
			p.Full = s
		}
	}
	return &p
}

func without(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

func readNumber(dir, file string) uint64 {
	n, _ := readLimit(dir, file)
	return n
}

// readLimit reads a number; there is none in a file that says "max", or that is not there.
func readLimit(dir, file string) (n uint64, ok bool) {
	if dir == "" {
		return 0, false
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil
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
