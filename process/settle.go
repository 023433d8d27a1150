package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	settleAfter = 10 * time.Second // when a start is over, counted from its begin, and what follows is everyday work
	settleLook  = time.Minute      // how often it is looked afterwards whether more work is over
	calm        = 3 * time.Second  // of CPU in the time between two looks: with less of it no work is under way
)

// settle gives back the memory that only a piece of work needed, when that work is over: first the start, later whatever made the
// process grow. Freed heap goes, and the pages of files: the program's own, and those of the store. They stay in the kernel's cache;
// the ones that everyday work needs come back from there, a few of the many that initialisation or a burst touched.
func settle(ctx context.Context, log *slog.Logger) error {
	var p pace
	t := time.NewTimer(settleAfter)
	defer t.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		t.Reset(settleLook)
		used, resident, err := weigh()
		if err != nil {
			log.Debug("the memory of this process is unknown", "err", err)
			continue
		}
		if !p.look(used, resident) && !first {
			continue
		}
		debug.FreeOSMemory()
		if err := dropFiles(); err != nil {
			log.Debug("the pages of files are kept", "err", err)
		}
		if first { // with so little, the next calm look gives back again: what came until then was the start, too
			_, p.low, _ = weigh()
		}
	}
}

// pace says when memory is to be given back.
type pace struct {
	used time.Duration // of CPU, at the last look
	low  int64         // bytes that were resident at a calm look soon after the last time; 0: the next calm look is that one
}

// look says whether it is time, with what the process has used of CPU since its start, and what of it is resident, in bytes.
func (p *pace) look(used time.Duration, resident int64) bool {
	busy := used-p.used > calm
	p.used = used
	switch {
	case busy:
		return false
	case p.low == 0 || resident < p.low:
		p.low = resident
		return false
	case resident < p.low+p.low/4:
		return false
	}
	p.low = 0
	return true
}

// weigh is how much CPU the process has used, and how many bytes of it are resident.
func weigh() (time.Duration, int64, error) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0, 0, fmt.Errorf("read the CPU used: %w", err)
	}
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0, err
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0, 0, fmt.Errorf("read /proc/self/statm: %w", err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), pages * int64(os.Getpagesize()), nil
}

// dropFiles unmaps the resident pages of files that this process does not write by their mapping.
func dropFiles() error {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer f.Close()
	var errs []error
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var from, to uintptr
		var perms string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &perms); err != nil {
			return err
		}
		if !strings.Contains(lines.Text(), " /") || strings.Contains(perms, "w") {
			continue
		}
		if _, _, err := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); err != 0 {
			errs = append(errs, fmt.Errorf("madvise %s: %w", lines.Text(), err))
		}
	}
	return errors.Join(append(errs, lines.Err())...)
}
