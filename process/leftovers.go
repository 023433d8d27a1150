package process

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"proa.dev/config"
	"proa.dev/network"
)

// cgroupRoots are the places of a cgroup on this host: one per hierarchy of version 1, or the one of version 2.
func cgroupRoots(parent string) []string {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + parent) // the pattern is sound
	return append(roots, "/sys/fs/cgroup"+parent)
}

// removeCgroups removes the empty tree of cgroups below and including parent.
func removeCgroups(parent string) (err error) {
	for _, root := range cgroupRoots(parent) {
		var dirs []string
		walk := filepath.WalkDir(root, func(path string, d fs.DirEntry, e error) error {
			if e == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		err = errors.Join(err, walk)
		for _, dir := range slices.Backward(dirs) {
			if e := os.Remove(dir); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, fmt.Errorf("remove cgroup: %w", e))
			}
		}
	}
	return err
}

// Leftovers lists what proa left on this machine, one line a thing: processes, mounts, cgroups, network objects, files.
func Leftovers(c *config.Config) (left []string, err error) {
	add := func(format string, args ...any) { left = append(left, fmt.Sprintf(format, args...)) }
	for _, root := range cgroupRoots(c.CgroupParent) {
		if _, err := os.Stat(root); err == nil {
			add("cgroup %s", root)
		}
	}
	for _, place := range c.Places() {
		mounts, err := mountsBelow(place)
		if err != nil {
			return nil, err
		}
		for _, m := range mounts {
			add("mount %s", m)
		}
		if _, err := os.Lstat(place); err == nil {
			add("directory %s", place)
		}
	}
	procs, err := processesOf(c)
	if err != nil {
		return nil, err
	}
	for _, p := range procs {
		add("process %s", p)
	}
	found, err := network.Leftovers(cniConfig(c, slog.New(slog.DiscardHandler)))
	return append(left, found...), err
}

// processesOf lists the processes in cgroups of proa and the keepers of this run directory.
func processesOf(c *config.Config) (found []string, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		groups, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup")) // empty: it has ended
		command, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		words := strings.ReplaceAll(strings.TrimRight(string(command), "\x00"), "\x00", " ")
		if words == "" {
			continue // it has ended: nothing but its exit code is left
		}
		if inCgroup(string(groups), c.CgroupParent) || strings.HasPrefix(words, "proa-keeper") && strings.Contains(words, c.RunDir+"/") {
			found = append(found, fmt.Sprintf("%d: %s", pid, words))
		}
	}
	return found, nil
}

func inCgroup(groups, parent string) bool {
	for line := range strings.Lines(groups) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3) // id:controllers:path
		if len(f) == 3 && (f[2] == parent || strings.HasPrefix(f[2], parent+"/")) {
			return true
		}
	}
	return false
}
