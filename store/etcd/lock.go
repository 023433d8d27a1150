package etcd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockDir makes the data directory if need be and takes it for this process; the kernel gives it back however the process
// ends. etcd itself would wait in silence for another holder of its database file, so that one is probed, too.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store in %s: %w", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store in %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := f.Read(holder) // only a nicer message hangs on it
		f.Close()
		return nil, inUse(dir, strings.TrimSpace(string(holder[:n])), err)
	}
	if err := probe(filepath.Join(dir, "member", "snap", "db")); err != nil {
		f.Close()
		return nil, inUse(dir, "", err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	// On a full disk the process id does not fit; the lock holds all the same.
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		f.Close()
		return nil, fmt.Errorf("open store in %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// probe tries the lock that etcd holds on its database while it runs.
func probe(path string) error {
	db, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer db.Close()
	return syscall.Flock(int(db.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

func inUse(dir, pid string, err error) error {
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("open store in %s: lock: %w", dir, err)
	}
	who := "another process"
	if pid != "" {
		who += " (pid " + pid + ")"
	}
	return fmt.Errorf("open store in %s: %s uses this data directory; stop it or give another --data-dir: %w", dir, who, err)
}
