package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/config"
	"proa.dev/kubelet"
	"proa.dev/network"
	"proa.dev/network/dns"
)

// stopLimit is how long the daemon may take to stop; sandboxes get as long together.
const stopLimit = 30 * time.Second

// StopDaemon asks the daemon of this run directory to stop and waits until it has.
func StopDaemon(ctx context.Context, c *config.Config) error {
	pid := Running(c)
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	for end := time.Now().Add(stopLimit); alive(pid); {
		if time.Now().After(end) {
			return fmt.Errorf("process %d still runs after %s; its log is %s", pid, stopLimit, filepath.Join(c.DataDir, "proa.log"))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// alive says whether a process has not ended; a zombie has.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // man 5 proc: pid (comm) state ...
	if !strings.HasPrefix(rest, "Z") {
		return true
	}
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // the first thread is a zombie until the last has ended
	return len(threads) > 1
}

// StopPods stops and removes every pod sandbox of this node while no daemon runs, and says how many there were. The API keeps
// their objects: the next start runs them again.
func StopPods(ctx context.Context, c *config.Config) (n int, err error) {
	held, err := lock(c)
	if err != nil {
		return 0, err
	}
	defer held.Close()
	if err := dns.EndStandby(standbyDir(c)); err != nil {
		return 0, err
	}
	if _, err := os.Stat(c.DataDir); errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if c.Runtime.Endpoint != "" {
		if pods, err := entries(filepath.Join(c.KubeletDir, "pods")); err != nil || pods == 0 {
			return 0, err // so that this works without that runtime too
		}
	}
	rt, stop, err := openRuntime(ctx, c)
	if err != nil {
		return 0, err
	}
	n, err = stopSandboxes(ctx, rt, c)
	return n, errors.Join(err, stop())
}

// openRuntime makes the node's runtime work without the rest of the daemon, until stop is called.
func openRuntime(ctx context.Context, c *config.Config) (rt kubelet.Runtime, stop func() error, err error) {
	log := slog.New(slog.DiscardHandler)
	if c.Runtime.Endpoint != "" {
		conn, err := dialForeign(ctx, c)
		if err != nil {
			return nil, nil, err
		}
		groups, err := openGroups()
		return foreignRuntime{conn, c, groups, newMaking()}, conn.Close, err
	}
	plugin, err := newPlugin(c, log)
	if err != nil {
		return nil, nil, err
	}
	images, err := openImages(c, log)
	if err != nil {
		return nil, nil, errors.Join(err, closed(plugin.Close))
	}
	tidied := make(chan struct{})
	own, err := newRuntime(c, images, sandboxNetwork{plugin, tidied}, log)
	if err != nil {
		return nil, nil, errors.Join(err, closed(plugin.Close))
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 2) // both Runs, waited for by stop
	go func() { done <- own.Run(ctx) }()
	go func() { done <- images.Run(ctx) }()
	return own, func() error {
		flush := plugin.Flush(context.WithoutCancel(ctx))
		cancel()
		for range cap(done) {
			if err := <-done; !errors.Is(err, context.Canceled) {
				flush = errors.Join(flush, err)
			}
		}
		plugin.Close()
		return flush
	}, nil
}

func closed(f func()) error { f(); return nil }

// stopSandboxes stops what the kubelet of this node started; a shared runtime may have pods of others.
func stopSandboxes(ctx context.Context, rt kubelet.Runtime, c *config.Config) (n int, err error) {
	list, err := rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return 0, fmt.Errorf("list pods: %w", err)
	}
	if c.Runtime.Endpoint != "" {
		list.Items = slices.DeleteFunc(list.Items, func(s *runtimeapi.PodSandbox) bool { return !ownsSandbox(c, s) })
	}
	errs := make(chan error, len(list.Items))
	for _, s := range list.Items {
		go func() {
			_, err := rt.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: s.Id})
			if err == nil {
				_, err = rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: s.Id})
			}
			if err != nil {
				err = fmt.Errorf("stop pod %s/%s: %w", s.GetMetadata().GetNamespace(), s.GetMetadata().GetName(), err)
			}
			errs <- err
		}()
	}
	for range list.Items {
		err = errors.Join(err, <-errs)
	}
	return len(list.Items), errors.Join(err, unmountBelow(c.KubeletDir))
}

// unmountBelow takes away every mount below dir, the deepest first.
func unmountBelow(dir string) (err error) {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if e := syscall.Unmount(mounts[i], syscall.MNT_DETACH); e != nil && !errors.Is(e, syscall.EINVAL) {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", mounts[i], e))
		}
	}
	return err
}

func mountsBelow(dir string) (found []string, err error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	for line := range strings.Lines(string(info)) {
		// man 5 proc: the fifth field is the mount point, with octal escapes for white space.
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			found = append(found, strings.ReplaceAll(f[4], `\040`, " "))
		}
	}
	return found, nil
}

// Remove takes away everything that proa made on this machine; no daemon and no pod may run.
func Remove(ctx context.Context, c *config.Config) error {
	held, err := lock(c)
	if err != nil {
		return err
	}
	defer held.Close()
	err = errors.Join(
		network.Cleanup(ctx, cniConfig(c, slog.New(slog.DiscardHandler))),
		unmountBelow(c.RunDir), unmountBelow(c.DataDir), unmountBelow(c.KubeletDir), removeCgroups(c.CgroupParent),
	)
	if c.Runtime.Endpoint != "" {
		if e := os.Remove(cniFile(c)); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	for _, dir := range c.Places() {
		if e := os.RemoveAll(dir); e != nil {
			err = errors.Join(err, fmt.Errorf("remove %s: %w", dir, e))
		}
	}
	return err
}
