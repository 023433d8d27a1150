package localvolume

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// targets are the places where a volume is bound now, as the kernel's table of mounts says:
//
//	36 35 98:0 /var/lib/proa/volumes/pvc-1 /var/lib/kubelet/pods/... rw - ext4 /dev/sda1 rw
func (s *store) targets(id string) ([]string, error) {
	var st unix.Stat_t
	if err := unix.Stat(s.path(id), &st); err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 64<<10), 1<<20)
	for lines.Scan() {
		w := strings.Fields(lines.Text())
		if len(w) < 5 || !strings.HasSuffix(w[3], "/"+id) || w[2] != fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)) {
			continue
		}
		var at unix.Stat_t
		if err := unix.Stat(w[4], &at); err == nil && at.Ino == st.Ino && at.Dev == st.Dev {
			out = append(out, w[4])
		}
	}
	return out, lines.Err()
}
