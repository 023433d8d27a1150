package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tree is where the host's control groups are mounted.
type Tree struct {
	unified     string            // mount point of the v2 tree, empty: none
	controllers []string          // of the v2 tree that proa uses; none on hybrid hosts, whatever is left over there
	v1          map[string]string // controller -> mount point
	systemd     string            // mount point of the v1 tree in which systemd tracks services, empty: none
	all         []string          // mount points of all v1 trees, in which an external OCI runtime may make groups
}

// wanted are the controllers that proa uses. On v1 the order is that of creation.
var wanted = [...]string{"memory", "cpu", "cpuacct", "pids", "devices", "cpuset", "hugetlb", "io"}

// always are the v1 controllers in which every container has a group; the others only when a limit asks.
var always = [...]string{"memory", "cpu", "cpuacct", "pids", "devices"}

// Open finds the host's trees in /proc/self/mountinfo.
func Open() (*Tree, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t := &Tree{v1: map[string]string{}}
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		before, after, ok := strings.Cut(scan.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		switch at := left[4]; right[0] {
		case "cgroup2":
			if t.unified == "" {
				t.unified = at
			}
		case "cgroup":
			for opt := range strings.SplitSeq(right[2], ",") {
				switch {
				case slices.Contains(wanted[:], opt) && t.v1[opt] == "":
					t.v1[opt] = at
				case opt == "name=systemd":
					t.systemd = at
				}
			}
			if !slices.Contains(t.all, at) {
				t.all = append(t.all, at)
			}
		}
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("read mountinfo: %w", err)
	}
	if t.Pure() {
		data, err := os.ReadFile(filepath.Join(t.unified, "cgroup.controllers"))
		if err != nil {
			return nil, err
		}
		for _, c := range strings.Fields(string(data)) {
			if slices.Contains(wanted[:], c) {
				t.controllers = append(t.controllers, c)
			}
		}
	}
	if t.unified == "" && len(t.v1) == 0 {
		return nil, errors.New("no control groups are mounted: mount cgroup2 at /sys/fs/cgroup")
	}
	return t, nil
}

// Pure reports a v2 host: the v2 tree has the controllers.
func (t *Tree) Pure() bool { return t.unified != "" && len(t.v1) == 0 }

// V1 returns the v1 controllers that are mounted, with their mount points.
func (t *Tree) V1() map[string]string { return t.v1 }

// Group is one control group in all hierarchies.
type Group struct {
	tree *Tree
	path string
	dirs map[string]string // v1 controller -> directory; "": the v2 directory
}

// At names a group without making it.
func (t *Tree) At(path string) *Group {
	g := &Group{tree: t, path: filepath.Clean("/" + path), dirs: map[string]string{}}
	if t.unified != "" {
		g.dirs[""] = filepath.Join(t.unified, g.path)
	}
	for c, at := range t.v1 {
		g.dirs[c] = filepath.Join(at, g.path)
	}
	return g
}

// Create makes a group and those above it, in the hierarchies that every container uses. It is no error if it exists.
func (t *Tree) Create(path string) (*Group, error) {
	g := t.At(path)
	if dir := g.dirs[""]; dir != "" {
		if err := t.createUnified(g.path); err != nil {
			return nil, fmt.Errorf("create cgroup %s: %w", path, err)
		}
	}
	for _, c := range always {
		if dir := g.dirs[c]; dir != "" {
			if err := makeDir(dir); err != nil {
				return nil, fmt.Errorf("create cgroup: %w", err)
			}
		}
	}
	return g, nil
}

// makeDir is os.MkdirAll for directories whose parents mostly exist.
func makeDir(dir string) error {
	err := unix.Mkdir(dir, 0o755)
	if err == nil || err == unix.EEXIST {
		return nil
	}
	return os.MkdirAll(dir, 0o755)
}

// createUnified makes a v2 group, and hands the controllers down on the way.
func (t *Tree) createUnified(path string) error {
	dir := filepath.Join(t.unified, path)
	if err := os.Mkdir(dir, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
		return t.delegate(filepath.Dir(path))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.createUnified(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return t.delegate(filepath.Dir(path))
}

// delegate switches controllers on for the children of a v2 group. A controller that refuses (cpuset without memory nodes,
// hugetlb in a sandbox) leaves the others working.
func (t *Tree) delegate(path string) error {
	if len(t.controllers) == 0 {
		return nil
	}
	file := filepath.Join(t.unified, path, "cgroup.subtree_control")
	have, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	on := strings.Fields(string(have))
	var last error
	for _, c := range t.controllers {
		if slices.Contains(on, c) {
			continue
		}
		if err := write(file, "+"+c); err != nil {
			last = err
		}
	}
	if last != nil && len(on) == 0 {
		if have, err = os.ReadFile(file); err != nil || len(strings.Fields(string(have))) == 0 {
			return fmt.Errorf("enable controllers of %s (does the group hold processes?): %w", path, last)
		}
	}
	return nil
}

// Escape makes the group in the tree in which a v1 systemd tracks services, and returns the file to which a process ID is
// written to leave the service that started it: what is in there survives the service's end. Empty where there is no such
// tree; on v2 being in any other group is enough.
func (g *Group) Escape() (string, error) {
	if g.tree.systemd == "" {
		return "", nil
	}
	dir := filepath.Join(g.tree.systemd, g.path)
	if err := makeDir(dir); err != nil {
		return "", err
	}
	return filepath.Join(dir, "cgroup.procs"), nil
}

// Exists says whether the group is there, in any hierarchy.
func (g *Group) Exists() bool {
	for _, dir := range g.dirs {
		if _, err := os.Stat(dir); err == nil {
			return true
		}
	}
	return false
}

// Path returns the name of the group.
func (g *Group) Path() string { return g.path }

// Dir returns the v2 directory, empty where there is none.
func (g *Group) Dir() string { return g.dirs[""] }

// Procs returns the v1 files to which a process ID is written to enter the group.
func (g *Group) Procs() []string {
	var files []string
	for _, c := range wanted {
		dir := g.dirs[c]
		if dir == "" {
			continue
		}
		file := filepath.Join(dir, "cgroup.procs")
		if !slices.Contains(always[:], c) {
			if _, err := os.Stat(file); err != nil {
				continue // no limit asked for it
			}
		}
		if !slices.Contains(files, file) { // cpu and cpuacct are often one hierarchy
			files = append(files, file)
		}
	}
	return files
}

// OOMCounter returns the file with the line "oom_kill N", empty where memory is not controlled.
func (g *Group) OOMCounter() string {
	if dir := g.dirs["memory"]; dir != "" {
		return filepath.Join(dir, "memory.oom_control")
	}
	if slices.Contains(g.tree.controllers, "memory") {
		return filepath.Join(g.Dir(), "memory.events")
	}
	return ""
}

// KillFile returns the file that ends all processes of the group when "1" is written (Linux 5.14), or empty.
func (g *Group) KillFile() string {
	if g.Dir() == "" {
		return ""
	}
	file := filepath.Join(g.Dir(), "cgroup.kill")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// Kill ends every process of the group and of those below it.
func (g *Group) Kill() error {
	if file := g.KillFile(); file != "" {
		err := write(file, "1")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil // removed by somebody else
		}
		return err
	}
	for range 16 {
		pids, err := g.Pids()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
				return fmt.Errorf("kill %d of cgroup %s: %w", pid, g.path, err)
			}
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// Pids lists the processes of the group itself.
func (g *Group) Pids() ([]int, error) {
	dir := g.Dir()
	if dir == "" {
		dir = g.dirs["memory"]
	}
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range strings.Fields(string(data)) {
		var pid int
		if _, err := fmt.Sscanf(f, "%d", &pid); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// removePatience bounds how long Remove waits for processes that were killed to be gone.
const removePatience = 5 * time.Second

// Remove deletes the group, and those below it, in all hierarchies, after its processes have ended. A group that is gone is
// no error.
func (g *Group) Remove() error {
	var errs []error
	trees := g.tree.all
	if g.tree.unified != "" {
		trees = append(slices.Clip(trees), g.tree.unified)
	}
	for _, at := range trees {
		if err := removeDir(filepath.Join(at, g.path)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// RemoveIfEmpty deletes the group where it has no groups below it and no processes.
func (g *Group) RemoveIfEmpty() {
	for _, dir := range g.dirs {
		_ = unix.Rmdir(dir) // EBUSY and ENOTEMPTY: somebody still needs it
	}
}

func removeDir(dir string) error {
	deadline := time.Now().Add(removePatience)
	for pause := 100 * time.Microsecond; ; pause *= 2 {
		err := unix.Rmdir(dir)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		// A container with access to its cgroups may have made groups of its own.
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.IsDir() {
				if err := removeDir(filepath.Join(dir, e.Name())); err != nil {
					return err
				}
			}
		}
		if err != unix.EBUSY && err != unix.EINTR || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		time.Sleep(pause)
	}
}

// write puts a value into a cgroup file in one write, without creating it.
func write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
