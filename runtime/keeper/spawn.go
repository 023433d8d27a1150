package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// Spec says what a new keeper is to be.
type Spec struct {
	Setup wire.Setup // ID and Dir are required; Version is filled in; with IDs the pod cannot use the host's namespaces

	// Host namespaces that the pod uses instead of its own.
	HostNetwork, HostIPC, HostUTS bool

	// CgroupDir is a cgroup v2 directory to be cloned into, CgroupProcs are v1 files to write the process ID to.
	CgroupDir   string
	CgroupProcs []string
}

// Spawn starts a keeper. born is called as soon as its namespaces exist, at the same time as the keeper sets itself up in
// them, with its process ID; an error of born ends the keeper. Spawn returns when both are done. The returned Keeper
// watches already.
func (b *Binary) Spawn(ctx context.Context, s Spec, born func(pid int) error) (*Keeper, error) {
	s.Setup.Version = wire.Version
	if s.Setup.IDs.Size > 0 && (s.HostNetwork || s.HostIPC || s.HostUTS) {
		return nil, errors.New("start keeper: a pod with a user namespace cannot use the host's other namespaces")
	}
	if err := os.MkdirAll(filepath.Join(s.Setup.Dir, "exit"), 0o700); err != nil {
		return nil, err
	}
	listener, err := listen(filepath.Join(s.Setup.Dir, "sock"))
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "keeper"), os.NewFile(uintptr(pair[1]), "daemon")
	defer ours.Close()
	pid, err := b.fork(s, listener, theirs)
	theirs.Close()
	if err != nil {
		return nil, err
	}
	conn, err := net.FileConn(ours)
	if err == nil {
		err = wire.WriteFrame(conn, wire.KindSetup, s.Setup.Encode())
	}
	if err == nil {
		if err = born(pid); err == nil {
			_, err = answer(ctx, conn)
		} else {
			err = cause(ctx, conn, pid, err)
		}
	}
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL) // still ours, so the number is right
		wait(pid)
		if conn != nil {
			conn.Close()
		}
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	return &Keeper{dir: s.Setup.Dir, PID: pid, watch: conn, child: true}, nil
}

// cause is why a keeper could not be started when what was done beside its birth went wrong: a keeper that refused its setup is
// gone before its namespaces can be pinned, and then its own word is the reason.
func cause(ctx context.Context, conn net.Conn, pid int, born error) error {
	_ = unix.Kill(pid, unix.SIGKILL) // not waited for yet, so the number is right; what it has said can still be read
	var own Error
	if _, err := answer(ctx, conn); errors.As(err, &own) {
		return own
	}
	return born
}

// fork clones the keeper into its namespaces and cgroups.
func (b *Binary) fork(s Spec, listener, first *os.File) (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	// What the Go runtime says when it dies is all that ever goes there.
	last, err := os.OpenFile(filepath.Join(s.Setup.Dir, "stderr"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer last.Close()
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1", "GOGC=10", "PATH=" + os.Getenv("PATH")},
		Files: []uintptr{null.Fd(), null.Fd(), last.Fd(), listener.Fd(), first.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if !s.HostNetwork {
		attr.Sys.Cloneflags |= unix.CLONE_NEWNET
	}
	if !s.HostIPC {
		attr.Sys.Cloneflags |= unix.CLONE_NEWIPC
	}
	if !s.HostUTS {
		attr.Sys.Cloneflags |= unix.CLONE_NEWUTS
	}
	if s.CgroupDir != "" {
		dir, err := os.Open(s.CgroupDir)
		if err != nil {
			return 0, err
		}
		defer dir.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
	}
	argv := []string{"proa-keeper", s.Setup.ID}
	var pid int
	if s.Setup.IDs.Size > 0 {
		attr.Sys.Cloneflags = 0
		pid, err = b.forkMapped(s.Setup.IDs, argv, attr)
	} else {
		pid, err = syscall.ForkExec(b.Path(), argv, attr)
	}
	if err != nil {
		return 0, fmt.Errorf("start keeper: %w", err)
	}
	for _, file := range s.CgroupProcs {
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0); err != nil {
			_ = unix.Kill(pid, unix.SIGKILL)
			wait(pid)
			return 0, fmt.Errorf("keeper cgroup: %w", err)
		}
	}
	return pid, nil
}

// listen makes the keeper's socket. The name is given relative to its directory's descriptor, because socket paths are
// limited to 107 bytes.
func listen(path string) (*os.File, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("keeper socket: %w", err)
	}
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: short}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind keeper socket %s: %w", path, err)
	}
	if err := unix.Listen(fd, 64); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen on keeper socket %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// wait reaps a child that is ending.
func wait(pid int) {
	for {
		var ws unix.WaitStatus
		if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			return
		}
	}
}
