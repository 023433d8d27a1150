package cadvisor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tree is where control groups are mounted, and what else of the machine is the same for all of them.
type tree struct {
	root    string
	unified string            // mount point of v2 where it has the controllers, else empty
	v1      map[string]string // controller -> mount point
	mounts  []mount           // of disks, each disk once
	names   map[string]string // of disks, by "major:minor"
}

// mount is a file system that lies on a disk.
type mount struct{ device, at string }

// counted are the controllers of v1 that have figures.
var counted = [...]string{"cpu", "cpuacct", "memory", "pids", "blkio"}

func (m Machine) open() *tree {
	t := &tree{root: m.Root, v1: map[string]string{}, names: map[string]string{}}
	seen, unified := map[string]bool{}, ""
	for line := range lines(t.path("/proc/self/mountinfo")) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 2 {
			continue
		}
		at := strings.ReplaceAll(left[4], `\040`, " ")
		switch {
		case right[0] == "cgroup2" && unified == "":
			unified = t.path(at)
		case right[0] == "cgroup" && len(right) > 2:
			for _, c := range counted {
				if t.v1[c] == "" && strings.Contains(","+right[2]+",", ","+c+",") {
					t.v1[c] = t.path(at)
				}
			}
		case strings.HasPrefix(right[1], "/dev/") && !seen[right[1]]:
			seen[right[1]] = true
			t.mounts = append(t.mounts, mount{right[1], at})
		}
	}
	if len(t.v1) == 0 {
		t.unified = unified
	}
	for line := range lines(t.path("/proc/diskstats")) {
		if f := strings.Fields(line); len(f) > 2 {
			t.names[f[0]+":"+f[1]] = "/dev/" + f[2]
		}
	}
	return t
}

// path is where something of the machine is found.
func (t *tree) path(at string) string { return filepath.Join(t.root, at) }

// lines are those of a file; one that cannot be read has none: which files there are depends on the kernel.
func lines(path string) func(yield func(string) bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		b = nil
	}
	return strings.Lines(string(b))
}

// number is the one number in a file; ok is false for a file without, as those that say "max".
func number(path string) (n uint64, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
