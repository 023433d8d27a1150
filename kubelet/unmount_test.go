package kubelet_test

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// unmountAll unmounts what a kubelet left mounted under dir, which a later one would have used.
func unmountAll(t testing.TB, dir string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if w := strings.Fields(lines.Text()); len(w) > 4 && strings.HasPrefix(w[4], dir+"/") {
			if err := unix.Unmount(w[4], unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", w[4], err)
			}
		}
	}
}
