package supervise

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// drainTime bounds how long the end of a container waits for more of its output, which comes at once unless the disk is slow or a
// process that left the container still holds the pipe.
const drainTime = time.Second

// container is one container of the pod.
type container struct {
	spec  wire.Create
	proc  *process // nil until forked
	talk  talk
	ended chan struct{} // closed when the exit record is written
	out   *output

	state    wire.State // guarded by Keeper.mu
	starting bool       // guarded by Keeper.mu

	stdinMu sync.Mutex
	stdin   *os.File // guarded by stdinMu; pipe or terminal, nil when closed
	master  *os.File // terminal, nil without
}

// create takes a container up to the point before its program and answers who it will be.
func (k *Keeper) create(m wire.Create) ([]byte, error) {
	m.Launch = append([]byte(nil), m.Launch...)
	x := &container{spec: m, ended: make(chan struct{}), state: wire.State{ID: m.ID, Phase: wire.PhaseCreated}}
	k.mu.Lock()
	if k.stopping || k.containers[m.ID] != nil {
		k.mu.Unlock()
		return nil, text("container " + m.ID + " exists already or the pod is stopping")
	}
	k.containers[m.ID] = x
	k.mu.Unlock()
	who, err := k.launch(x)
	if err != nil {
		k.abandon(x)
		return nil, err
	}
	k.mu.Lock()
	x.state.PID, x.state.User = int64(x.proc.pid), who
	k.mu.Unlock()
	x.spec.Launch = nil // large, and used up
	who.PID = int64(x.proc.pid)
	return who.Encode(), nil
}

// launch opens the streams and forks the first process.
func (k *Keeper) launch(x *container) (wire.Created, error) {
	var err error
	if x.out, err = newOutput(k, x.spec.Log); err != nil {
		return wire.Created{}, err
	}
	files, closeFiles, err := x.openStreams(k)
	defer closeFiles()
	if err != nil {
		return wire.Created{}, err
	}
	if len(x.spec.External) > 0 {
		return k.launchExternal(x, files)
	}
	t, stageFD, err := newTalk()
	if err != nil {
		return wire.Created{}, err
	}
	x.talk = t
	c := child{args: []string{"proa-keeper", "stage"}, files: append(files[:len(files):len(files)], stageFD), clone: unix.CLONE_NEWNS,
		pidNS: -1, cgroup: x.spec.CgroupDir, procs: x.spec.CgroupProcs, env: stageEnv()}
	switch x.spec.PIDMode {
	case wire.PIDOwn:
		c.clone |= unix.CLONE_NEWPID
	case wire.PIDPod:
		c.pidNS = k.shared
	case wire.PIDTarget:
		if c.pidNS, err = k.pidfd(x.spec.PIDTarget); err != nil {
			unix.Close(stageFD)
			return wire.Created{}, err
		}
		defer unix.Close(c.pidNS)
	}
	var proc *process
	if k.user < 0 {
		proc, err = k.fork(c)
	} else {
		proc, err = k.forkMapped(c, t, wire.Enter{Word: wire.EnterStage, NewPID: x.spec.PIDMode == wire.PIDOwn, Launch: x.spec.Launch})
	}
	unix.Close(stageFD)
	if err != nil {
		return wire.Created{}, err
	}
	k.adopt(x, proc)
	if err := t.send(x.spec.Launch); err != nil {
		return wire.Created{}, err
	}
	who, master, err := t.report()
	if master >= 0 {
		x.setMaster(k, master)
	}
	return who, err
}

// adopt makes proc the first process of x. If it ended before this, finish was not called for it.
func (k *Keeper) adopt(x *container, proc *process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	x.proc = proc
	select {
	case <-proc.done:
		go k.finish(x)
	default:
		if k.stopping {
			_ = unix.Kill(proc.pid, unix.SIGKILL) // not reaped, so it is still this process
		}
	}
}

// start lets a created container run.
func (k *Keeper) start(id string) ([]byte, error) {
	x, err := k.find(id)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	if x.state.Phase != wire.PhaseCreated || x.starting || x.proc == nil {
		k.mu.Unlock()
		return nil, text("container " + id + " is not waiting to be started")
	}
	x.starting = true
	x.state.StartedAt = time.Now().UnixNano() // before the program can have ended
	k.mu.Unlock()
	if len(x.spec.External) > 0 {
		err = k.runCommand(x.spec.Release)
	} else {
		if err = x.talk.sendStart(); err == nil {
			err = x.talk.started()
		}
	}
	if err != nil {
		k.abandon(x)
		return nil, err
	}
	if x.talk.file != nil {
		x.talk.file.Close()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if x.state.Phase == wire.PhaseCreated { // else it has ended, and that was told
		x.state.Phase = wire.PhaseRunning
		k.tell(x)
	}
	return x.state.Encode(), nil
}

// abandon undoes a container that could not be created or started: no exit is reported, the caller has the error.
func (k *Keeper) abandon(x *container) {
	k.mu.Lock()
	if k.containers[x.spec.ID] != x {
		k.mu.Unlock()
		return // forgotten
	}
	delete(k.containers, x.spec.ID)
	proc, ended := x.proc, x.state.Phase == wire.PhaseExited
	k.mu.Unlock()
	if proc != nil {
		k.killAll(x)
		<-proc.done
	}
	x.close()
	if !ended {
		close(x.ended)
	}
}

// finish records the end of a container's first process and tells the daemon.
func (k *Keeper) finish(x *container) {
	finished := time.Now()
	if x.spec.PIDMode != wire.PIDOwn || len(x.spec.External) > 0 {
		k.killAll(x) // its own PID namespace would have taken the rest with it
	}
	x.out.drain(drainTime)
	oom := x.oomKilled()
	x.close()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.containers[x.spec.ID] != x {
		return
	}
	x.state.Phase = wire.PhaseExited
	x.state.FinishedAt = finished.UnixNano()
	x.state.ExitCode = x.proc.code()
	x.state.OOMKilled = oom && x.state.ExitCode != 0
	k.record(x)
	close(x.ended)
	k.tell(x)
}

// record writes the exit record. A disk that cannot take it leaves the record in memory, from where watchers get it.
func (k *Keeper) record(x *container) {
	path := k.dir + "/exit/" + x.spec.ID
	if err := writeFile(path+".new", string(x.state.Encode()), unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC); err != nil {
		return
	}
	if err := unix.Rename(path+".new", path); err != nil {
		_ = unix.Unlink(path + ".new")
	}
}

// oomKilled asks the container's cgroup whether the kernel killed something in it for memory.
func (x *container) oomKilled() bool {
	if x.spec.OOMCounter == "" {
		return false
	}
	data, err := readFile(x.spec.OOMCounter)
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(data, "\n") {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return n != "0"
		}
	}
	return false
}

// close releases the descriptors of a container that ended.
func (x *container) close() {
	if x.talk.file != nil {
		x.talk.file.Close()
	}
	x.closeStdin()
	if x.master != nil {
		x.master.Close()
	}
	if x.out != nil {
		x.out.close()
	}
}

// forget drops a container that has ended.
func (k *Keeper) forget(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	x := k.containers[id]
	if x != nil && x.state.Phase != wire.PhaseExited {
		return text("container " + id + " has not ended")
	}
	delete(k.containers, id)
	if err := unix.Unlink(k.dir + "/exit/" + id); err != nil && err != unix.ENOENT {
		return wrap("remove exit record", err)
	}
	return nil
}

// signal sends a signal to a container's first process or, with All, to all of them.
func (k *Keeper) signal(m wire.Signal) error {
	x, err := k.find(m.ID)
	if err != nil {
		return err
	}
	k.mu.Lock()
	proc, phase := x.proc, x.state.Phase
	// Under the lock nobody reaps, so the number still belongs to the process.
	if proc == nil || phase == wire.PhaseExited {
		k.mu.Unlock()
		return nil
	}
	select {
	case <-proc.done:
	default:
		err = unix.Kill(proc.pid, unix.Signal(m.Signal))
	}
	k.mu.Unlock()
	if m.All {
		k.killAll(x)
	}
	if err == unix.ESRCH {
		err = nil
	}
	return wrap("signal container "+m.ID, err)
}

// killAll ends every process of a container: by its cgroup in one write where the kernel can, else one by one.
func (k *Keeper) killAll(x *container) {
	k.mu.Lock()
	if x.proc != nil {
		select {
		case <-x.proc.done:
		default:
			_ = unix.Kill(x.proc.pid, unix.SIGKILL) // ESRCH only
		}
	}
	k.mu.Unlock()
	if x.spec.KillFile != "" && writeFile(x.spec.KillFile, "1", unix.O_WRONLY) == nil {
		return
	}
	if len(x.spec.CgroupProcs) == 0 {
		return
	}
	// A process may fork while the list is read; a few rounds catch those too.
	for range 8 {
		data, err := readFile(x.spec.CgroupProcs[0])
		if err != nil || data == "" {
			return
		}
		for line := range strings.SplitSeq(strings.TrimSpace(data), "\n") {
			if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

// pidfd opens a container's first process, while nobody can reap it.
func (k *Keeper) pidfd(id string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	x := k.containers[id]
	if x == nil || x.proc == nil || x.state.Phase != wire.PhaseRunning {
		return -1, text("container " + id + " is not running")
	}
	fd, err := unix.PidfdOpen(x.proc.pid, 0)
	return fd, wrap("open process of container "+id, err)
}
