package volume

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// share makes sure that what a container mounts below path is seen by the node: the mount that path lies on has to be a shared one, which
// it is on hosts that systemd has started. On others it becomes one now. It says whether that was needed.
func share(path string) (bool, error) {
	point, shared, err := mountOf(path)
	if err != nil || shared {
		return false, err
	}
	if err := unix.Mount("", point, "", unix.MS_SHARED, ""); err != nil {
		return false, fmt.Errorf("path %q is mounted on %q but it is not a shared mount: %w", path, point, err)
	}
	return true, nil
}

// mountOf is the mount point that a path lies on, and whether the mount is a shared one:
//
//	36 35 98:0 /root /mount/point rw,noatime shared:1 master:2 - ext4 /dev/root rw
func mountOf(path string) (point string, shared bool, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st); err != nil {
		return "", false, fmt.Errorf("look at %s: %w", path, err)
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 64<<10), 1<<20)
	for lines.Scan() {
		w := strings.Fields(lines.Text())
		if len(w) < 7 || w[0] != strconv.FormatUint(st.Mnt_id, 10) {
			continue
		}
		for _, field := range w[6:] {
			if field == "-" {
				break
			}
			shared = shared || strings.HasPrefix(field, "shared:")
		}
		return unescape(w[4]), shared, nil
	}
	if err := lines.Err(); err != nil {
		return "", false, err
	}
	return "", false, fmt.Errorf("the mount of %s is not in the table of mounts", path)
}
