package filewatch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// settle is how long a file has to be left alone before it is read: editors write in several steps.
const settle = 100 * time.Millisecond

// mask is what may mean that a file has new content.
const mask = syscall.IN_CLOSE_WRITE | syscall.IN_MOVED_TO | syscall.IN_CREATE | syscall.IN_DELETE

// Run calls fn with the content of the file whenever that is not what it was (known: what the caller has read), until ctx ends. It returns
// ctx.Err() then, or why it cannot watch. A file that cannot be read is left for the next change.
func Run(ctx context.Context, path string, known []byte, fn func(data []byte)) error {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	if _, err := syscall.InotifyAddWatch(fd, filepath.Dir(path), mask); err != nil {
		return fmt.Errorf("watch %s: %w", filepath.Dir(path), err)
	}
	defer context.AfterFunc(ctx, func() { events.Close() })() // ends the Read below
	last := sha256.Sum256(known)
	look := func() {
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 { // an empty file is one that is being written
			return
		}
		if now := sha256.Sum256(data); now != last {
			last = now
			fn(data)
		}
	}
	look() // what happened before the watch began
	buf := make([]byte, 4096)
	for {
		if _, err := events.Read(buf); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("watch %s: %w", path, err)
		}
		quiet := time.NewTimer(settle)
		select {
		case <-quiet.C:
			look()
		case <-ctx.Done():
			quiet.Stop()
			return ctx.Err()
		}
	}
}
