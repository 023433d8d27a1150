package keeper

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// forkMapped starts a keeper in a network, IPC and UTS namespace that belong to a new user namespace, itself remaining in the host's, and
// gives it a descriptor of that. A process is made that has them all, the keeper is forked by a thread that joins them but for the
// first, and then both go: the keeper holds the namespaces.
func (b *Binary) forkMapped(ids wire.IDMap, argv []string, attr *syscall.ProcAttr) (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	holder, err := syscall.ForkExec(b.Path(), []string{"proa-keeper", "pause"}, &syscall.ProcAttr{
		Dir: "/", Env: []string{"GOMAXPROCS=1"}, Files: []uintptr{null.Fd(), null.Fd(), null.Fd()},
		Sys: &syscall.SysProcAttr{
			Setsid: true, Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
			UidMappings:                []syscall.SysProcIDMap{{HostID: int(ids.UID), Size: int(ids.Size)}},
			GidMappings:                []syscall.SysProcIDMap{{HostID: int(ids.GID), Size: int(ids.Size)}},
			GidMappingsEnableSetgroups: true,
		},
	})
	if err != nil {
		return 0, fmt.Errorf("new user namespace: %w", err)
	}
	defer func() {
		_ = unix.Kill(holder, unix.SIGKILL) // not waited for yet, so the number is right
		wait(holder)
	}()
	user, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", holder))
	if err != nil {
		return 0, fmt.Errorf("new user namespace: %w", err)
	}
	defer user.Close()
	attr.Files = append(attr.Files, user.Fd())
	pidfd, err := unix.PidfdOpen(holder, 0)
	if err != nil {
		return 0, fmt.Errorf("new user namespace: %w", err)
	}
	defer unix.Close(pidfd)
	pid := 0
	aside(func() {
		if err = unix.Setns(pidfd, unix.CLONE_NEWNET|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS); err == nil {
			pid, err = syscall.ForkExec(b.Path(), argv, attr)
		}
	})
	return pid, err
}

// aside calls fn on a thread that ends with it, so that it may leave the process's namespaces. Not on the first one, which cannot end:
// /proc/self would show those that it went to.
func aside(fn func()) {
	done := make(chan struct{})
	go func() { // awaited below
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			fn()
			return
		}
		aside(fn) // on another: this one is held for so long
		runtime.UnlockOSThread()
	}()
	<-done
}
