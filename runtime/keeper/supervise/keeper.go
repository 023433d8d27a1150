package supervise

import (
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/stage"
	"proa.dev/runtime/keeper/wire"
)

// Descriptors that a keeper is born with.
const (
	fdListen = 3 // listening unix stream socket
	fdFirst  = 4 // first connection: Setup arrives here, then it watches
	fdUserNS = 5 // the pod's user namespace, if Setup says that it has one
)

// Keeper is the state of one keeper process.
type Keeper struct {
	dir   string
	forks chan func() // work for the forking thread
	user  int         // descriptor of the pod's user namespace, -1: none; set before anything is served

	mu         sync.Mutex // guards the fields below
	containers map[string]*container
	procs      map[int]*process // children by process ID, until reaped
	watchers   map[*conn]struct{}
	shared     int // pidfd of the shared PID namespace's first process, -1: none
	stopping   bool
	expecting  int                     // commands that leave a process behind, for which orphans are remembered
	orphans    map[int]unix.WaitStatus // those that ended meanwhile

	scratchMu sync.Mutex // guards scratch and lines
	scratch   []byte
	lines     []byte
}

// Run is the whole life of a keeper. It returns the exit code.
func Run() int {
	k := &Keeper{
		forks:      make(chan func()),
		containers: map[string]*container{},
		procs:      map[int]*process{},
		watchers:   map[*conn]struct{}{},
		orphans:    map[int]unix.WaitStatus{},
		shared:     -1,
		user:       -1,
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 1
	}
	if err := writeFile("/proc/self/comm", "proa-keeper", unix.O_WRONLY); err != nil {
		return 1 // it was executed by a descriptor's number, which is no name for ps
	}
	unix.CloseOnExec(fdListen)
	unix.CloseOnExec(fdFirst)
	first, err := newConn(fdFirst)
	if err != nil {
		return 1
	}
	go k.forker()
	go k.reap()
	if err := k.setup(first); err != nil {
		first.fail(err)
		return 1
	}
	go k.accept()
	first.ok(nil)
	k.watch(first)
	select {} // ended by stop
}

// setup does what Setup says, in the pod's namespaces.
func (k *Keeper) setup(c *conn) error {
	kind, payload, err := wire.ReadFrame(c.file, nil)
	if err != nil {
		return err
	}
	m, err := wire.DecodeSetup(payload)
	if err != nil || kind != wire.KindSetup || m.Version != wire.Version {
		return wire.ErrMalformed
	}
	k.dir = m.Dir
	if m.IDs.Size > 0 {
		unix.CloseOnExec(fdUserNS)
		k.user = fdUserNS
	}
	// A host without CAP_SYS_RESOURCE cannot lower the score; the keeper then runs with the one it has.
	_ = writeFile("/proc/self/oom_score_adj", itoa(m.OOMScore), unix.O_WRONLY)
	if err := writeFile(k.dir+"/pid", itoa(int64(unix.Getpid())), unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC); err != nil {
		return wrap("write pid file", err)
	}
	if m.Hostname != "" {
		if err := unix.Sethostname([]byte(m.Hostname)); err != nil {
			return wrap("set host name", err)
		}
	}
	if m.Loopback {
		if err := loopbackUp(); err != nil {
			return wrap("bring loopback up", err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := stage.WriteSysctls(m.Sysctls, m.IDs); err != nil {
		return err
	}
	if m.SharePID {
		if err := k.startPause(); err != nil {
			return wrap("shared PID namespace", err)
		}
	}
	return nil
}

// accept serves connections until the process ends.
func (k *Keeper) accept() {
	listener := os.NewFile(fdListen, "sock")
	raw, err := listener.SyscallConn()
	if err != nil {
		os.Exit(1)
	}
	for {
		fd := -1
		err := raw.Read(func(l uintptr) bool {
			fd, _, err = unix.Accept4(int(l), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			return err != unix.EAGAIN
		})
		if err != nil {
			os.Exit(1)
		}
		if fd < 0 {
			continue
		}
		if cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil || cred.Uid != 0 {
			unix.Close(fd)
			continue
		}
		c, err := newConn(fd)
		if err != nil {
			unix.Close(fd)
			continue
		}
		go k.serve(c)
	}
}

// loopbackUp sets the IFF_UP flag of lo.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, ifr); err != nil {
		return err
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

// Pause is the first process of a PID namespace that containers share: it does nothing but collect orphans, and ends with its parent.
func Pause() {
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0) // never fails
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(-1, &ws, 0, nil)
		if err == unix.ECHILD {
			unix.Pause()
		}
	}
}
