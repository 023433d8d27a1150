package volume

import (
	"io/fs"
	"os"
	"path/filepath"

	core "k8s.io/api/core/v1"
)

// changesOwner says whether files in dir have to be given to the pod's fsGroup.
func changesOwner(dir string, pod *core.Pod) bool {
	sc := pod.Spec.SecurityContext
	if sc == nil || sc.FSGroup == nil {
		return false
	}
	p := sc.FSGroupChangePolicy
	return p == nil || *p != core.FSGroupChangeOnRootMismatch || !rootMatches(dir, int(*sc.FSGroup))
}

// setOwnership gives everything in dir to the pod's fsGroup, which it has: group rw (r for volumes that are only read), and
// directories that hand their group on.
func setOwnership(dir string, pod *core.Pod, readOnly bool) error {
	gid := int(*pod.Spec.SecurityContext.FSGroup)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, gid); err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return nil
		}
		return os.Chmod(path, groupMode(info.Mode(), readOnly))
	})
}

func groupMode(m fs.FileMode, readOnly bool) fs.FileMode {
	add := fs.FileMode(0o660)
	if readOnly {
		add = 0o440
	}
	if m.IsDir() {
		add |= fs.ModeSetgid | 0o110
	}
	return m | add
}

func rootMatches(dir string, gid int) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	group, ok := groupOf(info)
	return ok && group == gid && info.Mode()&fs.ModeSetgid != 0 && info.Mode()&0o070 == 0o070
}
