package dns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"proa.dev/kit/atomicfile"
	"proa.dev/network/dns/standby"
)

// standbyPID is the file with the number of the standby's process.
const standbyPID = "pid"

// Hold is the daemon's side of the standby: while it is held, the standby sleeps.
type Hold struct {
	dir   string
	alive *os.File
	last  []byte
}

// TakeFromStandby ends the standby of an earlier daemon, whose address may be bound after that, and takes the lock that the next one will sleep on.
func TakeFromStandby(dir string) (*Hold, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the standby: %w", err)
	}
	if err := EndStandby(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, standby.AliveFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the standby's lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return &Hold{dir: dir, alive: f}, nil
}

// Write tells the standby what it will have to answer.
func (h *Hold) Write(t *standby.Table) error {
	data := t.Encode()
	if bytes.Equal(data, h.last) {
		return nil
	}
	if err := atomicfile.Write(filepath.Join(h.dir, standby.TableFile), data, 0o600); err != nil {
		return err
	}
	h.last = data
	return nil
}

// Start starts a standby from the keeper binary at program. A table must have been written. The process outlives this one.
func (h *Hold) Start(program string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(program, []string{"proa-keeper", standby.Word, h.dir}, &syscall.ProcAttr{
		Dir: "/", Env: []string{"GOMAXPROCS=1", "GOGC=10"}, Files: []uintptr{null.Fd(), null.Fd(), null.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start the standby of DNS: %w", err)
	}
	go func() { // ends with the child, which otherwise would stay as a zombie
		var status syscall.WaitStatus
		_, _ = syscall.Wait4(pid, &status, 0, nil)
	}()
	return atomicfile.Write(filepath.Join(h.dir, standbyPID), []byte(strconv.Itoa(pid)), 0o600)
}

// Close lets the standby take over, as the daemon's death would.
func (h *Hold) Close() error { return h.alive.Close() }

// endLimit bounds the wait for a killed standby, in milliseconds.
const endLimit = 5000

// EndStandby ends the standby of dir, if there is one, and waits until it has let go of its address.
func EndStandby(dir string) error {
	path := filepath.Join(dir, standbyPID)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	// A descriptor of the process: its number may pass to another one, and only this tells when its last socket is closed.
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return os.Remove(path)
	}
	if err != nil {
		return fmt.Errorf("find the standby of DNS, process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if !isStandby(pid, dir) {
		return os.Remove(path)
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the standby of DNS: %w", err)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, endLimit)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("wait for the end of the standby of DNS: %w", err)
		case n == 0:
			return fmt.Errorf("the standby of DNS, process %d, does not end", pid)
		}
		return os.Remove(path)
	}
}

// isStandby says whether the process is the standby of dir. One that is ending has no command line any more: then it is waited for, too.
func isStandby(pid int, dir string) bool {
	command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return len(command) == 0 || strings.Contains(string(command), "\x00"+standby.Word+"\x00"+dir+"\x00")
}
