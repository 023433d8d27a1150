package stage

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// Descriptors of a helper beside its socket, and those that it hands to the stage it starts.
const (
	fdNamespace = 4  // the pod's user namespace; for an exec the pidfd of the container's first process
	fdJoin      = 5  // pidfd of a process whose PID namespace is joined
	fdNull      = 16 // the host's null device
	fdRoot      = 17 // the root file system
	fdTrees     = 18 // and on: mounts that only the host's root can make, at their index among the mounts
)

// Enter is the life of a helper: it takes what the host's root alone can do off the stage of a container whose pod has a user
// namespace, then starts the stage in there, and ends. It does not return.
//
// A Go program cannot join a user namespace, which the kernel allows to processes of one thread only. So the helper forks a
// process that has no other thread, which joins and forks once more, because a PID namespace is for children; that one executes the
// binary again. Both are siblings of the helper, children of the keeper.
//
// The conversation on the socket: the keeper sends Enter; the helper answers Created with the process ID (KindOK) or KindError. What
// follows is the conversation of the stage, on the same socket.
func Enter() {
	lockDown()
	if _, err := unix.FcntlInt(fdSocket, unix.F_SETFD, 0); err != nil { // it is the stage's as well
		die(wrap("keep the socket", err))
	}
	kind, payload, err := wire.ReadFrame(rawReader(fdSocket), nil)
	if err != nil || kind != wire.KindEnter {
		die(wrap("read what to enter", wire.ErrMalformed))
	}
	e, err := wire.DecodeEnter(payload)
	if err != nil {
		die(wrap("read what to enter", err))
	}
	pid, err := enter(&e)
	if err != nil {
		die(err)
	}
	if err := report(wire.Created{PID: int64(pid)}, -1); err != nil {
		die(err)
	}
	unix.Exit(0)
}

func enter(e *wire.Enter) (int, error) {
	flags, clone := uintptr(unix.CLONE_NEWUSER), uintptr(0)
	switch e.Word {
	case wire.EnterStage:
		clone = unix.CLONE_NEWNS
	case wire.EnterExec:
		flags |= unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP
	}
	if e.NewPID {
		clone |= unix.CLONE_NEWPID
	}
	if e.Word != wire.EnterPause {
		l, err := wire.DecodeLaunch(e.Launch)
		if err != nil {
			return 0, wrap("read launch", err)
		}
		if err := setOOMScore(&l.Process); err != nil {
			return 0, err
		}
		if err := giveStdio(l.IDs); err != nil {
			return 0, err
		}
		if e.Word == wire.EnterStage {
			if err := prepare(&l); err != nil {
				return 0, err
			}
		}
	}
	join := -1
	if e.JoinPID {
		join = fdJoin
	}
	return spawn(e.Word, flags, join, clone)
}

// giveStdio gives the pipes to the root of the user namespace, who then may give them to the container's user.
func giveStdio(ids wire.IDMap) error {
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return wrap("stat stdio", err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFIFO {
			continue
		}
		if err := unix.Fchown(fd, int(ids.UID), int(ids.GID)); err != nil {
			return wrap("owner of stdio", err)
		}
	}
	return nil
}

// prepare makes the mounts of the host's root, in the mount namespace of this helper, and puts them where the stage finds them.
func prepare(l *wire.Launch) error {
	trees, err := openSources(l.Mounts)
	if err != nil {
		return err
	}
	null, err := hostNull()
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return wrap("make mounts private", err)
	}
	for _, i := range l.Mapped {
		if i >= uint64(len(trees)) || trees[i] < 0 {
			return wire.ErrMalformed
		}
		if err := mapIDs(trees[i]); err != nil {
			return wrap("map the users of "+l.Mounts[i].Source+" (does its file system allow it?)", err)
		}
	}
	// Layers are mounted on a table in this namespace, which is gone with it; an overlay keeps its own hold of them.
	if err := unix.Chdir(l.Root.At); err != nil {
		return wrap("enter "+l.Root.At, err)
	}
	t := table{at: l.Root.At, ids: l.IDs}
	if err := t.lay(); err != nil {
		return wrap("table for layers", err)
	}
	for i := range l.Mounts {
		m := &l.Mounts[i]
		switch {
		case m.FSType == "overlay":
			trees[i], err = t.image(m)
		case isDev(m):
			trees[i], err = hostDev(m, l)
		}
		if err != nil {
			return wrap("mount "+m.Target, err)
		}
	}
	root, err := t.root(l.Root)
	if err != nil {
		return wrap("root file system", err)
	}
	return handOver(append([]int{null, root}, trees...))
}

// handOver puts descriptors, -1 for none, at their places, where they outlive the execution of the stage.
func handOver(list []int) error {
	// Out of the way first: a place may be taken by another one of the list.
	for i, fd := range list {
		if fd < 0 {
			continue
		}
		high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, fdNull+len(list))
		if err != nil {
			return wrap("hand over mounts", err)
		}
		unix.Close(fd)
		list[i] = high
	}
	for i, fd := range list {
		if fd < 0 {
			continue
		}
		if err := unix.Dup3(fd, fdNull+i, 0); err != nil {
			return wrap("hand over mounts", err)
		}
		unix.Close(fd)
	}
	return nil
}

// spawned is all that the forked processes need, made before: they must not allocate.
type spawned struct {
	flags, clone uintptr
	join         int
	exe          int
	argv, envv   *[4]*byte
	empty        *byte
	pipe         [2]int
	word         [2]int64 // process ID and errno, written to the pipe
	block, old   uint64   // signal masks
}

// spawn starts this binary once more, as word, in the namespaces behind fdNamespace, and returns its process ID.
func spawn(word string, flags uintptr, join int, clone uintptr) (int, error) {
	exe, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, wrap("open the keeper's binary", err)
	}
	s := &spawned{flags: flags, clone: clone, join: join, exe: exe, argv: new([4]*byte), envv: new([4]*byte), block: ^uint64(0)}
	text := func(v string) *byte { b := append([]byte(v), 0); return &b[0] }
	s.argv[0], s.argv[1] = text("proa-keeper"), text(word)
	s.envv[0], s.envv[1] = text("GOGC=off"), text("GOMAXPROCS=1")
	s.empty = text("")
	if err := unix.Pipe2(s.pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, wrap("pipe", err)
	}
	e := fork(s)
	runtime.KeepAlive(s)
	unix.Close(s.pipe[1])
	if e != 0 {
		return 0, wrap("fork", e)
	}
	var answer [16]byte
	for n := 0; n < len(answer); {
		m, err := rawReader(s.pipe[0]).Read(answer[n:])
		if err != nil {
			return 0, wrap("enter the user namespace", err)
		}
		n += m
	}
	got := *(*[2]int64)(unsafe.Pointer(&answer))
	if got[1] != 0 {
		return 0, wrap("enter the user namespace", unix.Errno(got[1]))
	}
	return int(got[0]), nil
}

// fork makes the process that joins the namespaces. Between its fork and its end there are only raw system calls: of the Go runtime
// it has a copy in which no other thread will ever run again.
//
//go:nosplit
//go:norace
func fork(s *spawned) unix.Errno {
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&s.block)), uintptr(unsafe.Pointer(&s.old)), 8, 0, 0)
	pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e == 0 && pid == 0 {
		joined(s)
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&s.old)), 0, 8, 0, 0)
	return e
}

// joined is the process between: it joins, forks and ends.
//
//go:nosplit
//go:norace
func joined(s *spawned) {
	var e unix.Errno
	if s.join >= 0 { // by the host's root: in the user namespace it may not look at that process
		_, _, e = unix.RawSyscall(unix.SYS_SETNS, uintptr(s.join), unix.CLONE_NEWPID, 0)
	}
	if e == 0 {
		_, _, e = unix.RawSyscall(unix.SYS_SETNS, fdNamespace, s.flags, 0)
	}
	if e == 0 {
		var pid uintptr
		pid, _, e = unix.RawSyscall6(unix.SYS_CLONE, s.clone|unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if e == 0 && pid == 0 {
			arrived(s)
		}
		s.word[0] = int64(pid)
	}
	s.word[1] = int64(e)
	unix.RawSyscall(unix.SYS_WRITE, uintptr(s.pipe[1]), uintptr(unsafe.Pointer(&s.word)), 16)
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// arrived is the last process: it becomes the namespace's root and the stage. If it cannot, the keeper sees its socket close.
//
//go:nosplit
//go:norace
func arrived(s *spawned) {
	unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
	_, _, e := unix.RawSyscall(unix.SYS_SETRESGID, 0, 0, 0)
	if e == 0 {
		_, _, e = unix.RawSyscall(unix.SYS_SETRESUID, 0, 0, 0)
	}
	if e == 0 {
		unix.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
		unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&s.old)), 0, 8, 0, 0)
		unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(s.exe), uintptr(unsafe.Pointer(s.empty)), uintptr(unsafe.Pointer(s.argv)),
			uintptr(unsafe.Pointer(s.envv)), unix.AT_EMPTY_PATH, 0)
	}
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 125, 0, 0)
	}
}
