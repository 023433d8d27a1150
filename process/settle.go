package process

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settleAfter is when a start is over, counted from its begin, and what follows is everyday work.
const settleAfter = 10 * time.Second

// settle gives back, once, the memory that only the start needed: freed heap, and the pages of the program's file. Those stay in the
// kernel's cache; the ones that everyday work needs come back from there, a few of the many that initialisation touched.
func settle(ctx context.Context, log *slog.Logger) error {
	t := time.NewTimer(settleAfter)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
	}
	debug.FreeOSMemory()
	if err := dropProgram(); err != nil {
		log.Debug("the program's pages are kept", "err", err)
	}
	<-ctx.Done()
	return ctx.Err()
}

// dropProgram unmaps the resident pages of the program's read-only segments.
func dropProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var from, to uintptr
		var perms string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &perms); err != nil {
			return err
		}
		if !strings.HasSuffix(lines.Text(), " "+exe) || strings.Contains(perms, "w") {
			continue
		}
		if _, _, err := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); err != 0 {
			return fmt.Errorf("madvise %s: %w", lines.Text(), err)
		}
	}
	return lines.Err()
}
