package lun

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// host is where the node's kernel shows its disks, and how its programs are run. Tests make one up.
type host struct {
	sys, dev, run string // "/sys", "/dev", "/run"
	mounts        string // "/proc/self/mountinfo"
	sockets       string // "/proc/net/unix"
	// command runs a program of the host. A program that ran and failed has a code and no error.
	command func(ctx context.Context, name string, args ...string) (out string, code int, err error)
}

func theHost() host {
	return host{sys: "/sys", dev: "/dev", run: "/run", mounts: "/proc/self/mountinfo", sockets: "/proc/net/unix", command: command}
}

// Times, as Kubernetes has them where it bounds these steps.
const (
	commandWithin   = 2 * time.Minute  // one program
	attachWithin    = 2 * time.Minute  // then a disk of several portals is used by those that answered
	deviceWithin    = 30 * time.Second // a device comes after a scan
	multipathWithin = 10 * time.Second // a multipath map comes after its devices
	settleWithin    = 10 * time.Second // udev has looked at a device
	look            = 100 * time.Millisecond
)

// packages are what programs come in, by Debian's names and others'.
var packages = map[string]string{
	"iscsiadm": "open-iscsi (iscsi-initiator-utils elsewhere than in Debian), whose iscsid has to run",
	"blkid":    "util-linux", "mount": "util-linux", "mkfs.ext2": "e2fsprogs", "mkfs.ext3": "e2fsprogs", "mkfs.ext4": "e2fsprogs",
	"mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs", "mkfs.vfat": "dosfstools",
}

// command runs a program. Its arguments may hold secrets: they are not in the error.
func command(ctx context.Context, name string, args ...string) (string, int, error) {
	ctx, cancel := context.WithTimeout(ctx, commandWithin)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.WaitDelay = time.Second // a child of it may hold the pipe
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return string(out), -1, fmt.Errorf("%s did not end within %v: %w", name, commandWithin, ctx.Err())
	case errors.As(err, &exit):
		return string(out), exit.ExitCode(), nil
	case errors.Is(err, exec.ErrNotFound):
		if p := packages[name]; p != "" {
			return "", -1, fmt.Errorf("the node has no program %s: install the package %s", name, p)
		}
		return "", -1, fmt.Errorf("the node has no program %s", name)
	}
	return string(out), 0, err
}

// read is a file of sysfs, "" where there is none.
func (h *host) read(parts ...string) string {
	b, err := os.ReadFile(filepath.Join(append([]string{h.sys}, parts...)...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// await looks until ok says so, and says whether it did.
func await(ctx context.Context, within time.Duration, ok func() bool) bool {
	t := time.NewTicker(look)
	defer t.Stop()
	for end := time.Now().Add(within); ; {
		if ok() {
			return true
		}
		if !time.Now().Before(end) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
}

func names(dir string) (out []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// scan has an adapter look for a logical unit: "channel target lun", each a number or "-".
func (h *host) scan(adapter, what string) error {
	if err := os.WriteFile(filepath.Join(h.sys, "class", "scsi_host", adapter, "scan"), []byte(what), 0); err != nil {
		return fmt.Errorf("scan %s: %w", adapter, err)
	}
	return nil
}

// settle waits until udev, if the host has it, is done with new devices: it may make a multipath map of them.
func (h *host) settle(ctx context.Context, paths []string) {
	if _, err := os.Stat(filepath.Join(h.run, "udev", "control")); err != nil {
		return
	}
	await(ctx, settleWithin, func() bool {
		return !slices.ContainsFunc(paths, func(p string) bool {
			_, err := os.Stat(filepath.Join(h.run, "udev", "data", "b"+h.read("class", "block", p, "dev")))
			return err != nil
		})
	})
}

// multipathd is the socket of the daemon that makes multipath maps.
const multipathd = "@/org/kernel/linux/storage/multipathd"

// multipath is the map that devices are paths of, "dm-3"; "" if they are of none. With wait one is waited for.
func (h *host) multipath(ctx context.Context, paths []string, wait bool) (name string) {
	within := time.Duration(0)
	if b, err := os.ReadFile(h.sockets); err == nil && wait && strings.Contains(string(b), multipathd) {
		within = multipathWithin
	}
	await(ctx, within, func() bool {
		for _, p := range paths {
			for _, holder := range names(filepath.Join(h.sys, "class", "block", p, "holders")) {
				if strings.HasPrefix(h.read("class", "block", holder, "dm", "uuid"), "mpath-") {
					name = holder
					return true
				}
			}
		}
		return false
	})
	return name
}

// slaves are the devices that a map is made of.
func (h *host) slaves(name string) []string {
	return names(filepath.Join(h.sys, "class", "block", name, "slaves"))
}

// drop has the kernel forget devices, once nothing of the host's uses them: after an unmount they would answer no more when the session
// has ended. Another use of the disk by this node keeps them.
func (s *Disks) drop(ctx context.Context, u *use, paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	name := s.multipath(ctx, paths, false)
	all := paths
	if name != "" {
		all = append(slices.Clone(paths), s.slaves(name)...)
		slices.Sort(all)
		all = slices.Compact(all)
	}
	for _, other := range s.others(u) {
		if have, err := s.pathsOf(&other); err == nil && slices.ContainsFunc(have, func(p string) bool { return slices.Contains(all, p) }) {
			return nil
		}
	}
	if why := s.busy(append(slices.Clone(all), name), name); why != "" {
		s.Log.Warn("disk is left with the node: somebody else uses it", "disk", u.place(""), "devices", all, "by", why)
		return nil
	}
	if name != "" {
		if out, code, err := s.command(ctx, "multipath", "-f", name); err != nil || code != 0 {
			return fmt.Errorf("failed to flush multipath device %s: %w", name, errors.Join(err, ended("multipath", code, out)))
		}
	}
	for _, p := range all {
		s.flush(p)
		if err := os.WriteFile(filepath.Join(s.sys, "class", "block", p, "device", "delete"), []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the device %s: %w", p, err)
		}
	}
	return nil
}

// pathsOf are the devices of a disk that are there now.
func (s *Disks) pathsOf(d *disk) ([]string, error) {
	if d.Kind == fc {
		return s.fcPaths(d)
	}
	return s.iscsiPaths(d)
}

// flush writes what a device was given and has not written yet.
func (h *host) flush(name string) {
	f, err := os.Open(filepath.Join(h.dev, name))
	if err != nil {
		return // gone already
	}
	defer f.Close()
	unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0) // without: what is lost is lost, and nobody would try again
}

// busy says what of the host's uses one of the devices: a mount, or a device above it other than their own map.
func (h *host) busy(devices []string, own string) string {
	numbers := map[string]bool{}
	for _, d := range devices {
		if d == "" {
			continue
		}
		dir := filepath.Join(h.sys, "class", "block", d)
		numbers[h.read("class", "block", d, "dev")] = true
		for _, part := range names(dir) {
			if n := h.read("class", "block", d, part, "dev"); n != "" && strings.HasPrefix(part, d) {
				numbers[n] = true
			}
		}
		for _, holder := range names(filepath.Join(dir, "holders")) {
			if holder != own {
				return "/dev/" + holder
			}
		}
	}
	f, err := os.Open(h.mounts)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(make([]byte, 0, 64<<10), 1<<20)
	for scanner.Scan() {
		if w := strings.Fields(scanner.Text()); len(w) > 4 && numbers[w[2]] {
			return w[4]
		}
	}
	return ""
}

// ended says how a program ended; nil: well.
func ended(name string, code int, out string) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("%s: exit status %d\nOutput: %s", name, code, strings.TrimSpace(out))
}

// lines are those of a file; none where there is none.
func lines(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}
