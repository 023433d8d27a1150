package cri

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/wire"
	"proa.dev/runtime/sandbox"
)

// What a container says whose end nobody saw, as with containerd.
const (
	unknownExitCode = 255
	unknownReason   = "Unknown"
)

// adopt finds the keepers of all recorded pods, takes over their word, and removes what a crash left half made.
func (r *Runtime) adopt(ctx context.Context) {
	r.mu.Lock()
	pods := make([]*pod, 0, len(r.pods))
	for _, p := range r.pods {
		pods = append(pods, p)
	}
	r.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range pods {
		switch p.rec.Phase {
		case phaseMaking:
			r.sweepMaking(ctx, p)
		case phaseReady:
			wg.Go(func() { r.adoptPod(ctx, p) })
		}
	}
	wg.Wait()
	r.sweepKeepers(ctx)
	r.sweepStrays()
	r.sweepRoots(ctx)
}

// sweepStrays ends keepers that run but could not be adopted: of pods that nobody knows, or that do not answer.
func (r *Runtime) sweepStrays() {
	pids, err := r.keepers.Pids()
	if err != nil {
		r.log.Error("look for stray keepers", "err", err)
		return
	}
	for _, pid := range pids {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty: it is ending
		words := strings.Split(string(command), "\x00")
		if len(words) < 2 {
			continue
		}
		r.mu.Lock()
		p := r.pods[words[1]]
		adopted := p != nil && p.keeper != nil
		r.mu.Unlock()
		if adopted {
			continue
		}
		r.log.Warn("ending a stray keeper", "sandbox", words[1], "pid", pid)
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
			r.log.Error("end a stray keeper", "sandbox", words[1], "pid", pid, "err", err)
		}
	}
}

// adoptPod connects with a pod's keeper again. Without one the pod is not ready and its containers have ended.
func (r *Runtime) adoptPod(ctx context.Context, p *pod) {
	k, err := keeper.Dial(ctx, p.paths.Keeper)
	if err != nil {
		r.log.Warn("keeper not reached", "sandbox", p.id, "name", p.config.GetMetadata().GetName(), "err", err)
		r.lost(p)
		return
	}
	known := make(chan struct{})
	seen := map[string]bool{}
	r.mu.Lock()
	p.keeper = k
	r.mu.Unlock()
	r.wg.Go(func() {
		complete := false
		r.watch(p, k, func(s wire.State) {
			if !complete {
				seen[s.ID] = true
			}
		}, func() { complete = true; close(known) })
		if !complete {
			close(known)
		}
	})
	<-known
	for _, c := range r.containersOf(p) {
		r.mu.Lock()
		missing := c.rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING && !seen[c.id]
		r.mu.Unlock()
		if missing {
			r.exitUnseen(c)
		}
	}
	r.log.Info("adopted pod", "sandbox", p.id, "name", p.config.GetMetadata().GetName(), "pid", k.PID)
}

// follow watches a keeper that was just started.
func (r *Runtime) follow(p *pod, k *keeper.Keeper) {
	r.wg.Go(func() { r.watch(p, k, nil, nil) })
}

// watch takes a keeper's word about its containers until it ends or Run does.
func (r *Runtime) watch(p *pod, k *keeper.Keeper, each func(wire.State), done func()) {
	err := k.Watch(r.work, func(s wire.State) {
		if each != nil {
			each(s)
		}
		r.heard(s)
	}, done)
	if r.work.Err() != nil {
		return // the keeper goes on without us
	}
	r.mu.Lock()
	lost := p.keeper == k && !p.ending
	r.mu.Unlock()
	if lost {
		r.log.Warn("keeper ended", "sandbox", p.id, "err", err)
		r.lost(p)
	}
}

// heard takes over a state.
func (r *Runtime) heard(s wire.State) {
	r.mu.Lock()
	c := r.containers[s.ID]
	if c == nil {
		r.mu.Unlock()
		return
	}
	started := s.Phase == wire.PhaseRunning && c.rec.State == runtimeapi.ContainerState_CONTAINER_CREATED
	if s.Phase != wire.PhaseCreated && c.rec.User.PID == 0 {
		c.rec.User, c.rec.User.PID = s.User, s.PID
	}
	r.mu.Unlock()
	switch {
	case s.Phase == wire.PhaseExited:
		r.exited(c, s, "", "")
	case started && c.op.TryLock():
		// Started by a daemon that died before it could write so. While a start is in progress the lock is its.
		r.mu.Lock()
		c.rec.State, c.rec.StartedAt = runtimeapi.ContainerState_CONTAINER_RUNNING, s.StartedAt
		r.mu.Unlock()
		if err := r.saveCtr(c); err != nil {
			r.log.Error("record a container", "container", c.id, "err", err)
		}
		c.op.Unlock()
	}
}

// lost takes note that a pod's keeper is gone: its containers are ended, by what it wrote down where it could.
func (r *Runtime) lost(p *pod) {
	r.mu.Lock()
	p.keeper = nil
	r.mu.Unlock()
	for _, c := range r.containersOf(p) {
		r.mu.Lock()
		running := c.rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING
		r.mu.Unlock()
		if !running {
			continue
		}
		if err := r.group(c).Kill(); err != nil {
			r.log.Error("end a container without keeper", "container", c.id, "err", err)
		}
		if s, ok := keeper.ExitRecord(p.paths.Keeper, c.id); ok {
			r.exited(c, s, "", "")
			continue
		}
		r.exitUnseen(c)
	}
	r.tell(p, p.id, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

func (r *Runtime) exitUnseen(c *ctr) {
	r.exited(c, wire.State{FinishedAt: time.Now().UnixNano(), ExitCode: unknownExitCode}, unknownReason,
		"the container ended while nobody watched it")
}

// sweepMaking removes a sandbox that was never finished.
func (r *Runtime) sweepMaking(ctx context.Context, p *pod) {
	if k, err := keeper.Dial(ctx, p.paths.Keeper); err == nil {
		r.mu.Lock()
		p.keeper = k
		r.mu.Unlock()
	}
	if err := r.destroyPod(ctx, p); err != nil {
		r.log.Error("remove a sandbox that was never finished", "sandbox", p.id, "err", err)
		return
	}
	r.mu.Lock()
	delete(r.pods, p.id)
	delete(r.names, podName(p.config.GetMetadata()))
	r.mu.Unlock()
}

// sweepSandbox removes what a sandbox without a record may have: only its ID is known.
func (r *Runtime) sweepSandbox(id string) error {
	paths := sandbox.PathsOf(r.deps.Root, r.deps.Run, id)
	return paths.CleanMounts()
}

// sweepKeepers ends keepers of pods that nobody knows.
func (r *Runtime) sweepKeepers(ctx context.Context) {
	entries, err := os.ReadDir(filepath.Join(r.deps.Run, "keepers"))
	if err != nil {
		r.log.Error("look for lost keepers", "err", err)
		return
	}
	for _, e := range entries {
		r.mu.Lock()
		_, known := r.pods[e.Name()]
		r.mu.Unlock()
		if known {
			continue
		}
		paths := sandbox.PathsOf(r.deps.Root, r.deps.Run, e.Name())
		if k, err := keeper.Dial(ctx, paths.Keeper); err == nil {
			if err := k.Stop(ctx); err != nil {
				r.log.Error("stop a lost keeper", "sandbox", e.Name(), "err", err)
			}
		}
		if err := paths.CleanMounts(); err != nil {
			r.log.Error("clean up after a lost keeper", "sandbox", e.Name(), "err", err)
		}
		if err := os.RemoveAll(paths.Keeper); err != nil {
			r.log.Error("clean up after a lost keeper", "sandbox", e.Name(), "err", err)
		}
	}
}

// sweepRoots releases root file systems of containers that nobody knows.
func (r *Runtime) sweepRoots(ctx context.Context) {
	held, ok := r.deps.Images.(interface{ Prepared() []string })
	if !ok {
		return
	}
	known := map[string]bool{}
	r.mu.Lock()
	for id, c := range r.containers {
		known[id] = true
		for _, key := range c.rec.ImageKeys {
			known[key] = true
		}
	}
	r.mu.Unlock()
	for _, key := range held.Prepared() {
		if !known[key] {
			if err := r.deps.Images.Release(ctx, key); err != nil {
				r.log.Error("release a lost root file system", "key", key, "err", err)
			}
		}
	}
}
