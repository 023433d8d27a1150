package image

import (
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lock keeps other processes away from the directory until this one ends. Within the process it may be taken again, as a
// restart does in tests. The descriptor stays open on purpose: to close any one of a file drops a process' locks on it.
func lock(root string) error {
	name := filepath.Join(root, "lock")
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("lock image store %s: %w", root, err)
	}
	// A process that was killed a moment ago may not be quite gone.
	for range 20 {
		l := unix.Flock_t{Type: unix.F_WRLCK}
		if err = unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &l); err != unix.EAGAIN && err != unix.EACCES {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err == nil {
		return nil
	}
	who := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &who) == nil && who.Type != unix.F_UNLCK {
		return fmt.Errorf("image store %s is in use by process %d", root, who.Pid)
	}
	return fmt.Errorf("lock image store %s: %w", root, err)
}
