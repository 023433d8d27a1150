package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"proa.dev/config"
)

// ErrRunning says that a daemon with the same run directory runs already.
var ErrRunning = errors.New("proa runs already")

// lock takes the run directory for this process, for as long as it lives: the kernel lets go of it even after kill -9.
func lock(c *config.Config) (*os.File, error) {
	if err := os.MkdirAll(c.RunDir, 0o755); err != nil {
		return nil, fmt.Errorf("make the run directory: %w", err)
	}
	f, err := os.OpenFile(lockPath(c), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (process %d holds %s)", ErrRunning, readPID(c), lockPath(c))
		}
		return nil, fmt.Errorf("lock %s: %w", lockPath(c), err)
	}
	if err := f.Truncate(0); err != nil {
		return nil, fmt.Errorf("write %s: %w", lockPath(c), err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return nil, fmt.Errorf("write %s: %w", lockPath(c), err)
	}
	return f, nil
}

func lockPath(c *config.Config) string { return filepath.Join(c.RunDir, "lock") }

func readPID(c *config.Config) int {
	data, _ := os.ReadFile(lockPath(c))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid
}

// Running is the process id of the daemon that uses this run directory; 0 if there is none.
func Running(c *config.Config) int {
	f, err := os.Open(lockPath(c))
	if err != nil {
		return 0
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return 0
	}
	return readPID(c)
}
