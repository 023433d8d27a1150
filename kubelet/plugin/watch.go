package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// identity tells a socket from one that was made anew at the same path.
type identity struct {
	inode uint64
	made  syscall.Timespec // last modification: a socket's is its creation, and chmod leaves it alone
}

const mask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// settle is how long changes are collected before the folders are read again.
const settle = 10 * time.Millisecond

// follow calls fn with all sockets below dir, at first and after every change, until ctx ends.
func follow(ctx context.Context, dir string, fn func(map[string]identity)) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch plugins: %w", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	defer context.AfterFunc(ctx, func() { events.Close() })() // ends the Read below
	buf := make([]byte, 4096)
	for {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("watch plugins: %w", err)
		}
		found := map[string]identity{}
		if err := scan(fd, dir, found); err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch plugins: %w", err)
		}
		fn(found)
		if _, err := events.Read(buf); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("watch plugins in %s: %w", dir, err)
		}
		quiet := time.NewTimer(settle)
		select {
		case <-quiet.C:
		case <-ctx.Done():
			quiet.Stop()
			return ctx.Err()
		}
	}
}

// scan collects the sockets of dir and below. Each folder is watched before it is read, so that nothing falls between; what goes in
// between is no error. Names with a dot in front are not looked at.
func scan(fd int, dir string, found map[string]identity) error {
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil && !gone(err) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !gone(err) {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			if err := scan(fd, path, found); err != nil {
				return err
			}
		case e.Type()&fs.ModeSocket != 0:
			if info, err := e.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					found[path] = identity{st.Ino, st.Mtim}
				}
			}
		}
	}
	return nil
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }
