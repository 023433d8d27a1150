package cri

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/container"
	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/wire"
)

// How often, and for how long, a first process is looked at that does not listen to its stop signal yet.
const (
	deafStep  = 20 * time.Millisecond
	deafLimit = 5 * time.Second
)

// askToEnd sends a container its stop signal and waits up to grace for its end. The kernel drops a signal for the first process of a
// PID namespace that has no handler for it: a container that is stopped before its program has come so far would sit out the whole
// grace period. So it is watched for a while and sent the signal once more, as soon as it listens.
func (r *Runtime) askToEnd(ctx context.Context, k *keeper.Keeper, c *ctr, grace time.Duration) (ended bool, err error) {
	signal := r.stopSignal(c)
	r.mu.Lock()
	pid := int(c.rec.User.PID)
	r.mu.Unlock()
	mode, _ := container.PIDMode(c.config, c.pod.config)
	deaf := mode == wire.PIDOwn && isDeaf(pid, signal)
	send := func() error { return k.Signal(ctx, wire.Signal{ID: c.id, Signal: int64(signal)}) }
	if err := ignoreGone(send()); err != nil {
		return false, err
	}
	begin := time.Now()
	for deaf && time.Since(begin) < min(grace, deafLimit) {
		if ended, err := awaitEnd(ctx, c, min(deafStep, grace)); ended || err != nil {
			return ended, err
		}
		if isDeaf(pid, signal) {
			continue
		}
		if err := ignoreGone(send()); err != nil {
			return false, err
		}
		break
	}
	return awaitEnd(ctx, c, grace-time.Since(begin))
}

// isDeaf reports whether a process neither handles, nor blocks, nor ignores a signal: as the first of its PID namespace it does not
// get it.
func isDeaf(pid int, signal unix.Signal) bool {
	if pid <= 0 || signal <= 0 || signal > 64 {
		return false
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	return deafTo(string(text), signal)
}

// deafTo is isDeaf on the text of a status file, in which the signals are masks:
//
//	SigBlk:	0000000000000000
//	SigIgn:	0000000000001000
//	SigCgt:	0000000180014a07
func deafTo(text string, signal unix.Signal) bool {
	seen := 0
	for line := range strings.Lines(text) {
		name, mask, _ := strings.Cut(line, ":")
		switch name {
		case "SigBlk", "SigIgn", "SigCgt":
			seen++
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			if err != nil || bits>>(signal-1)&1 != 0 {
				return false
			}
		}
	}
	return seen == 3
}
