package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"proa.dev/kit/dump"
	"proa.dev/test/machine"
)

// inventory lists what containers of this machine leave in the kernel and on disk, one thing a line: mounts, network namespaces,
// interfaces, firewall elements, cgroups, processes, address leases. Two inventories are equal when nothing leaked.
func (c *cluster) inventory() string {
	c.t.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, c.Run) || strings.HasPrefix(at, c.Dir) {
			add("mount %s", at)
		}
	}
	for _, dir := range []string{c.Run + "/netns", c.Run + "/keepers", c.Dir + "/kubelet/pods", c.Dir + "/pods"} {
		for _, name := range namesIn(c.t, dir) {
			add("entry %s/%s", dir, name)
		}
	}
	if c.other != nil {
		c.other.left(add)
	}
	for _, cg := range c.cgroups() {
		add("cgroup %s", cg)
	}
	for _, p := range processes(c.t) {
		if strings.Contains(p.Cgroup, filepath.Base(c.Run)) {
			add("process %s in %s", p.Program, p.Cgroup)
		}
	}
	if err := c.Within(func() error { return networkInventory(add) }); err != nil {
		c.t.Fatalf("list the network: %v", err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// inventoryIs waits until the machine is as it was before.
func (c *cluster) inventoryIs(before string) {
	c.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		now := c.inventory()
		if now == before {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("left behind (-before +now):\n%s", cmp.Diff(strings.Split(before, "\n"), strings.Split(now, "\n")))
		}
	}
}

func (c *cluster) cgroups() (found []string) {
	hierarchies, err := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(c.Run))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, root := range append(hierarchies, "/sys/fs/cgroup/"+filepath.Base(c.Run)) {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && strings.Contains(path, "/pod") {
				found = append(found, path)
			}
			return nil // a cgroup may go while we look
		})
		if err != nil {
			c.t.Fatal(err)
		}
	}
	return found
}

func networkInventory(add func(format string, args ...any)) error {
	links, err := dump.Whole(netlink.LinkList)
	if err != nil {
		return err
	}
	for _, l := range links {
		add("interface %s", l.Attrs().Name)
	}
	var conn nftables.Conn
	tables, err := conn.ListTables()
	if err != nil {
		return err
	}
	for _, table := range tables {
		sets, err := conn.GetSets(table)
		if err != nil {
			return err
		}
		for _, set := range sets {
			elements, err := conn.GetSetElements(set)
			if err != nil {
				return err
			}
			if !set.HasTimeout {
				add("firewall %s: %s has %d elements", table.Name, set.Name, len(elements))
			}
		}
	}
	return nil
}

// processes lists every process of this host.
func processes(t *testing.T) []machine.Process {
	t.Helper()
	list, err := machine.Processes()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// namesIn lists a directory; one that is not there has nothing in it.
func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
