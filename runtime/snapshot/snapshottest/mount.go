package snapshottest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/snapshot"
)

// Mounted calls look with a directory where the root file system is mounted. It runs in a thread of its own with its own
// mount namespace, so that nothing is left when it returns and nobody else sees the mount.
func Mounted(t testing.TB, r snapshot.Rootfs, look func(dir string) error) {
	t.Helper()
	target := t.TempDir()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("make mounts private: %w", err)
			}
			opts := "lowerdir=" + strings.Join(r.Lower, ":") + ",upperdir=" + r.Upper + ",workdir=" + r.Work
			if err := unix.Mount("overlay", target, "overlay", 0, opts); err != nil {
				return fmt.Errorf("mount overlay: %w", err)
			}
			return look(target)
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Tree describes every file below dir, a line each, sorted: mode, owner, path, and contents or target. Files that are hard links
// of another say of which.
func Tree(dir string) (string, error) {
	var lines []string
	first := make(map[uint64]string)
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		name := strings.TrimPrefix(p, dir)
		line := fmt.Sprintf("%06o %d:%d %s/", st.Mode, st.Uid, st.Gid, name)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			line = strings.TrimSuffix(line, "/")
			if st.Nlink > 1 && first[st.Ino] != "" {
				line += " = " + first[st.Ino]
				break
			}
			first[st.Ino] = name
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += " " + string(b)
		case unix.S_IFLNK:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line = strings.TrimSuffix(line, "/") + " -> " + target
		case unix.S_IFCHR, unix.S_IFBLK:
			line = strings.TrimSuffix(line, "/") + fmt.Sprintf(" dev %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		case unix.S_IFIFO:
			line = strings.TrimSuffix(line, "/")
		}
		lines = append(lines, line)
		return nil
	})
	sort.Strings(lines)
	return strings.Join(lines, "\n"), err
}
