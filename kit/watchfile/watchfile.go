package watchfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Run calls fn with the content of the file each time that it differs from before, which is last at the start, until ctx ends. A file that
// cannot be read for the moment is waited for.
func Run(ctx context.Context, path string, last []byte, fn func(data []byte)) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO|unix.IN_CREATE|unix.IN_DELETE); err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	defer context.AfterFunc(ctx, func() { events.Close() })()
	buf := make([]byte, 64<<10)
	for {
		if data, err := os.ReadFile(path); err == nil && !bytes.Equal(data, last) {
			last = data
			fn(data)
		}
		if _, err := events.Read(buf); err != nil {
			if ctx.Err() != nil && errors.Is(err, os.ErrClosed) {
				return ctx.Err()
			}
			return fmt.Errorf("watch %s: %w", path, err)
		}
	}
}
