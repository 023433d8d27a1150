package volume

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"
)

// fileLimit is the most that File reads, in bytes.
const fileLimit = 1 << 20

// File is the content of a file in one of the pod's volumes, at most 1 MiB. No link in its path leads out of the volume.
func (v *Volumes) File(pod *core.Pod, volume, path string) ([]byte, error) {
	vol := find(pod, volume)
	if vol == nil {
		return nil, fmt.Errorf("cannot find the volume %q", volume)
	}
	dir, _, err := v.Path(pod, vol)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe is not waited for
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if i, err := f.Stat(); err != nil || !i.Mode().IsRegular() {
		return nil, fmt.Errorf("%s of volume %q is not a file", path, volume)
	}
	b, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err == nil && len(b) > fileLimit {
		err = fmt.Errorf("%s of volume %q is larger than 1 MiB", path, volume)
	}
	return b, err
}
