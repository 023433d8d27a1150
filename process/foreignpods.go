package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// making is which pods, by uid, have sandboxes on their way, of which another runtime does not tell yet.
type making struct {
	mu    sync.Mutex // guards count
	ended sync.Cond  // something of count is gone
	count map[string]int
}

func newMaking() *making {
	m := &making{count: map[string]int{}}
	m.ended.L = &m.mu
	return m
}

// begin waits until nobody removes what is left of the pod; end must follow.
func (m *making) begin(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.count[uid] < 0 {
		m.ended.Wait()
	}
	m.count[uid]++
}

func (m *making) end(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.count[uid]--; m.count[uid] == 0 {
		delete(m.count, uid)
	}
}

// unless calls fn while no sandbox of the pod is on its way, and lets none begin meanwhile; if one is, it does nothing.
func (m *making) unless(uid string, fn func() error) error {
	m.mu.Lock()
	if m.count[uid] != 0 {
		m.mu.Unlock()
		return nil
	}
	m.count[uid] = -1
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.count, uid)
		m.ended.Broadcast()
	}()
	return fn()
}

// sweepAfter is when sweep is repeated: what a runtime was making when the daemon died may take until then.
var sweepAfter = [...]time.Duration{0, 10 * time.Second, time.Minute}

// runSweeps takes away what an earlier daemon left when it died.
func (n *node) runSweeps(ctx context.Context) error {
	for _, d := range sweepAfter {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
		}
		if err := n.foreign.sweep(ctx); err != nil && ctx.Err() == nil {
			n.deps.log.Warn("something is left of pods that are gone", "err", err)
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// sweep ends and removes what is left in the cgroups of pods of which the runtime has no sandbox: it forgets what it was making when a
// daemon died that had asked for it.
func (r foreignRuntime) sweep(ctx context.Context) (err error) {
	for _, root := range cgroupRoots(r.config.CgroupParent) {
		for _, pattern := range []string{"/kubepods/pod*", "/kubepods/*/pod*"} {
			found, _ := filepath.Glob(root + pattern) // the pattern is sound
			for _, dir := range found {
				err = errors.Join(err, r.dropPod(ctx, strings.TrimPrefix(filepath.Base(dir), "pod")))
			}
		}
	}
	return err
}

// dropPod removes the cgroups of a pod that has no sandbox, and ends what is in them. A pod that has one keeps them.
func (r foreignRuntime) dropPod(ctx context.Context, uid string) error {
	if uid == "" || uid != filepath.Base(uid) {
		return nil
	}
	return r.making.unless(uid, func() error {
		list, err := r.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
		if err != nil {
			return fmt.Errorf("list pods: %w", err)
		}
		for _, s := range list.GetItems() {
			if s.GetMetadata().GetUid() == uid {
				return nil
			}
		}
		for _, root := range cgroupRoots(r.config.CgroupParent) {
			for _, pattern := range []string{"/kubepods/pod" + uid, "/kubepods/*/pod" + uid} {
				found, _ := filepath.Glob(root + pattern) // the pattern is sound
				for _, dir := range found {
					path := filepath.Join(r.config.CgroupParent, strings.TrimPrefix(dir, root))
					err = errors.Join(err, killBelow(dir), r.groups.tree.At(path).Remove())
				}
			}
		}
		return err
	})
}

// killBelow ends every process of a cgroup and of those below it.
func killBelow(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil // a cgroup may go while we look
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for _, f := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
					return fmt.Errorf("end process %d of %s: %w", pid, dir, err)
				}
			}
		}
		return nil
	})
}
