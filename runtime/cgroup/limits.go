package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits are what a group may use. Zero means: leave as it is; -1, where a number can say so: no limit.
type Limits struct {
	Memory, MemorySwap int64 // bytes; MemorySwap is memory and swap together
	CPUShares          int64 // relative weight, 1024 per core asked for
	CPUQuota           int64 // microseconds per period
	CPUPeriod          int64 // microseconds
	Cpus, Mems         string
	Pids               int64
	Hugepages          map[string]uint64 // page size ("2MB") -> bytes
	Unified            map[string]string // v2 file -> value, as is
}

// Apply sets limits. On a group with processes it changes what they may use from then on.
func (g *Group) Apply(l Limits) error {
	var err error
	if g.tree.Pure() {
		err = g.applyUnified(l)
	} else {
		err = g.applyV1(l)
	}
	if err != nil {
		return fmt.Errorf("limits of cgroup %s: %w", g.path, err)
	}
	return nil
}

func (g *Group) applyUnified(l Limits) error {
	set := func(file, value string) error { return write(filepath.Join(g.Dir(), file), value) }
	if l.CPUShares > 0 {
		if err := set("cpu.weight", strconv.FormatInt(Weight(l.CPUShares), 10)); err != nil {
			return err
		}
	}
	if l.CPUQuota != 0 || l.CPUPeriod > 0 {
		period := l.CPUPeriod
		if period <= 0 {
			period = 100000
		}
		quota := "max"
		if l.CPUQuota > 0 {
			quota = strconv.FormatInt(l.CPUQuota, 10)
		}
		if err := set("cpu.max", quota+" "+strconv.FormatInt(period, 10)); err != nil {
			return err
		}
	}
	if l.Memory != 0 {
		if err := set("memory.max", orMax(l.Memory)); err != nil {
			return err
		}
	}
	if l.MemorySwap != 0 {
		swap := l.MemorySwap
		if swap > 0 && l.Memory > 0 {
			swap -= l.Memory
		}
		// A kernel without swap accounting has no such file.
		if err := set("memory.swap.max", orMaxSwap(swap)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if l.Pids != 0 {
		if err := set("pids.max", orMax(l.Pids)); err != nil {
			return err
		}
	}
	if err := g.applyUnifiedRest(l, set); err != nil {
		return err
	}
	for _, file := range slices.Sorted(maps.Keys(l.Unified)) {
		if strings.ContainsRune(file, '/') || strings.HasPrefix(file, "cgroup.") {
			return fmt.Errorf("%q is not a resource file", file)
		}
		err := set(file, l.Unified[file])
		if file == "memory.swap.max" && errors.Is(err, fs.ErrNotExist) {
			continue // a kernel that cannot swap
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) applyUnifiedRest(l Limits, set func(file, value string) error) error {
	if l.Cpus != "" {
		if err := set("cpuset.cpus", l.Cpus); err != nil {
			return err
		}
	}
	if l.Mems != "" {
		if err := set("cpuset.mems", l.Mems); err != nil {
			return err
		}
	}
	for size, limit := range l.Hugepages {
		err := set("hugetlb."+size+".max", strconv.FormatUint(limit, 10))
		if err != nil && !(limit == 0 && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}

func (g *Group) applyV1(l Limits) error {
	if err := g.applyV1Memory(l); err != nil {
		return err
	}
	set := func(c, file string, value int64) error {
		if g.dirs[c] == "" {
			return fmt.Errorf("the host has no %s controller", c)
		}
		return write(filepath.Join(g.dirs[c], file), strconv.FormatInt(value, 10))
	}
	if l.CPUShares > 0 {
		if err := set("cpu", "cpu.shares", l.CPUShares); err != nil {
			return err
		}
	}
	if l.CPUPeriod > 0 {
		if err := set("cpu", "cpu.cfs_period_us", l.CPUPeriod); err != nil {
			return err
		}
	}
	if l.CPUQuota != 0 {
		if err := set("cpu", "cpu.cfs_quota_us", l.CPUQuota); err != nil {
			return err
		}
	}
	if l.Pids > 0 {
		if err := set("pids", "pids.max", l.Pids); err != nil {
			return err
		}
	}
	if l.Cpus != "" || l.Mems != "" {
		if err := g.applyCpuset(l); err != nil {
			return err
		}
	}
	for size, limit := range l.Hugepages {
		if g.dirs["hugetlb"] == "" {
			if limit == 0 {
				continue
			}
			return errors.New("the host has no hugetlb controller")
		}
		if err := os.MkdirAll(g.dirs["hugetlb"], 0o755); err != nil {
			return err
		}
		if err := set("hugetlb", "hugetlb."+size+".limit_in_bytes", int64(limit)); err != nil {
			return err
		}
	}
	return nil
}

// applyV1Memory sets both memory limits. The kernel wants memory <= memory+swap at every moment, so the one that grows
// goes first. An unlimited group has memory+swap unlimited too.
func (g *Group) applyV1Memory(l Limits) error {
	if l.Memory == 0 {
		return nil
	}
	dir := g.dirs["memory"]
	if dir == "" {
		return errors.New("the host has no memory controller")
	}
	swap := l.MemorySwap
	if swap == 0 {
		swap = l.Memory
	}
	both := func(first, second string, a, b int64) error {
		if err := write(filepath.Join(dir, first), strconv.FormatInt(a, 10)); err != nil && !missing(err, first) {
			return err
		}
		err := write(filepath.Join(dir, second), strconv.FormatInt(b, 10))
		if missing(err, second) {
			return nil
		}
		return err
	}
	const mem, memsw = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	err := both(mem, memsw, l.Memory, swap)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBUSY) {
		err = both(memsw, mem, swap, l.Memory)
	}
	return err
}

// missing reports that a kernel without swap accounting has no memory+swap file.
func missing(err error, file string) bool {
	return errors.Is(err, fs.ErrNotExist) && strings.Contains(file, "memsw")
}

// applyCpuset makes the cpuset group, each level of which starts empty and has to be filled before the next.
func (g *Group) applyCpuset(l Limits) error {
	root := g.tree.v1["cpuset"]
	if root == "" {
		return errors.New("the host has no cpuset controller")
	}
	dir := root
	for part := range strings.SplitSeq(strings.Trim(g.path, "/"), "/") {
		parent := dir
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		for _, file := range [...]string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(parent, dir, file); err != nil {
				return err
			}
		}
	}
	if l.Cpus != "" {
		if err := write(filepath.Join(dir, "cpuset.cpus"), l.Cpus); err != nil {
			return err
		}
	}
	if l.Mems != "" {
		return write(filepath.Join(dir, "cpuset.mems"), l.Mems)
	}
	return nil
}

func inherit(parent, dir, file string) error {
	have, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil || strings.TrimSpace(string(have)) != "" {
		return err
	}
	value, err := os.ReadFile(filepath.Join(parent, file))
	if err != nil {
		return err
	}
	return write(filepath.Join(dir, file), strings.TrimSpace(string(value)))
}

// DeviceRule allows (or denies) device nodes, in the words of the OCI runtime specification.
type DeviceRule struct {
	Allow        bool
	Type         string // "c", "b" or "a" for all
	Major, Minor int64  // -1: any
	Access       string // of r, w, m
}

// LimitDevices sets which device nodes the group's processes may use, rule by rule. On v2 that is a program attached to
// the group (see devices.go).
func (g *Group) LimitDevices(rules []DeviceRule) error {
	if g.tree.Pure() {
		return g.filterDevices(rules)
	}
	dir := g.dirs["devices"]
	if dir == "" {
		return nil
	}
	for _, r := range rules {
		file := "devices.deny"
		if r.Allow {
			file = "devices.allow"
		}
		line := "a"
		if r.Type != "a" && r.Type != "" {
			line = fmt.Sprintf("%s %s:%s %s", r.Type, number(r.Major), number(r.Minor), r.Access)
		}
		if err := write(filepath.Join(dir, file), line); err != nil {
			return fmt.Errorf("device rule %q of cgroup %s: %w", line, g.path, err)
		}
	}
	return nil
}

func number(n int64) string {
	if n < 0 {
		return "*"
	}
	return strconv.FormatInt(n, 10)
}

// Weight turns v1 shares (2 to 262144) into a v2 weight (1 to 10000), as OCI runtimes do.
func Weight(shares int64) int64 {
	shares = min(max(shares, 2), 262144)
	return 1 + (shares-2)*9999/262142
}

func orMax(v int64) string {
	if v < 0 {
		return "max"
	}
	return strconv.FormatInt(v, 10)
}

func orMaxSwap(v int64) string { return orMax(max(v, -1)) }
