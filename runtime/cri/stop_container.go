package cri

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/wire"
)

// killPatience bounds how long a killed container may take to end, such as a process stuck in a device or a full disk.
const killPatience = 30 * time.Second

// StopContainer asks a container to end, and after the timeout makes it. Stopping what does not run, or does not exist, is
// no error.
func (r *Runtime) StopContainer(ctx context.Context, req *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	c, err := r.container(ctx, req.ContainerId)
	if err != nil {
		return &runtimeapi.StopContainerResponse{}, ignoreNotFound(err)
	}
	if err := r.stopContainer(ctx, c, time.Duration(req.Timeout)*time.Second); err != nil {
		return nil, fmt.Errorf("stop container %s: %w", c.id, err)
	}
	return &runtimeapi.StopContainerResponse{}, nil
}

// stopContainer ends a container. Several callers may be in here at once: a second one with less patience is not held up by
// the first.
func (r *Runtime) stopContainer(ctx context.Context, c *ctr, grace time.Duration) error {
	c.op.Lock() // a start in progress is let finish
	r.mu.Lock()
	running, k := c.rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING, c.pod.keeper
	if running {
		c.rec.Stopping = true
	}
	r.mu.Unlock()
	c.op.Unlock()
	if !running {
		return nil
	}
	if k == nil {
		return r.group(c).Kill()
	}
	if grace > 0 {
		if ended, err := r.askToEnd(ctx, k, c, grace); ended || err != nil {
			return err
		}
	}
	err := ignoreGone(k.Signal(ctx, wire.Signal{ID: c.id, Signal: int64(unix.SIGKILL), All: true}))
	if err != nil {
		return err
	}
	ended, err := awaitEnd(ctx, c, killPatience)
	if err == nil && !ended {
		err = fmt.Errorf("still there %v after it was killed", killPatience)
	}
	return err
}

// ignoreGone drops the error that the keeper is no more.
func ignoreGone(err error) error {
	if errors.Is(err, keeper.ErrGone) {
		return nil
	}
	return err
}

// awaitEnd waits for a container to have ended.
func awaitEnd(ctx context.Context, c *ctr, limit time.Duration) (bool, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.ended:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// stopSignal is what the pod says, else the image, else TERM.
func (r *Runtime) stopSignal(c *ctr) unix.Signal {
	if s := c.config.StopSignal; s != runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT {
		if n, ok := signalNumber(strings.TrimPrefix(s.String(), "SIGNAL_")); ok {
			return n
		}
	}
	if n, ok := signalNumber(c.rec.Image.StopSignal); ok {
		return n
	}
	return unix.SIGTERM
}

// signalNumber reads a signal in any of the usual spellings: "SIGTERM", "TERM", "15", "SIGRTMIN+3", "SIGRTMINPLUS3".
func signalNumber(s string) (unix.Signal, bool) {
	s = strings.ToUpper(strings.TrimSpace(s))
	if s == "" {
		return 0, false
	}
	if n, err := strconv.Atoi(s); err == nil {
		return unix.Signal(n), n > 0 && n < 65
	}
	if !strings.HasPrefix(s, "SIG") {
		s = "SIG" + s
	}
	s = strings.NewReplacer("PLUS", "+", "MINUS", "-").Replace(s)
	for prefix, base := range map[string]int{"SIGRTMIN": 34, "SIGRTMAX": 64} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			off := 0
			if rest != "" {
				var err error
				if off, err = strconv.Atoi(rest); err != nil {
					return 0, false
				}
			}
			return unix.Signal(base + off), base+off >= 34 && base+off <= 64
		}
	}
	n := unix.SignalNum(s)
	return n, n != 0
}
