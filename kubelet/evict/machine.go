package evict

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is where the signals are read.
type Machine struct {
	Root   string        // a directory on the node's file system
	Images func() string // one on that of images and containers' layers; "" while it is not known
	Proc   string        // default "/proc"
}

func (m Machine) proc(name string) string {
	if m.Proc == "" {
		return filepath.Join("/proc", name)
	}
	return filepath.Join(m.Proc, name)
}

// Read measures everything; what could not be measured is missing and named in the error.
func (m Machine) Read() (Reading, error) {
	r := Reading{}
	return r, errors.Join(m.memory(r), m.disks(r), m.processes(r))
}

// memory counts as Kubernetes documents it: what is free, and of the page cache what has not been used lately.
func (m Machine) memory(r Reading) error {
	b, err := os.ReadFile(m.proc("meminfo"))
	if err != nil {
		return err
	}
	fields := map[string]int64{}
	for line := range bytes.Lines(b) {
		name, rest, _ := strings.Cut(string(line), ":")
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err == nil {
			fields[name] = n << 10
		}
	}
	total, ok := fields["MemTotal"]
	if !ok {
		return fmt.Errorf("%s has no MemTotal", m.proc("meminfo"))
	}
	r[MemoryAvailable] = Level{min(fields["MemFree"]+fields["Inactive(file)"], total), total}
	return nil
}

func (m Machine) disks(r Reading) error {
	read := func(dir string, space, inodes []Signal) error {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			return fmt.Errorf("look at the file system of %s: %w", dir, err)
		}
		for _, name := range space {
			r[name] = Level{int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize}
		}
		for _, name := range inodes {
			if s.Files > 0 { // else they are made as needed
				r[name] = Level{int64(s.Ffree), int64(s.Files)}
			}
		}
		return nil
	}
	err := read(m.Root, []Signal{NodeFSAvailable}, []Signal{NodeFSInodesFree})
	images := m.Images()
	if images == "" {
		return err
	}
	return errors.Join(err, read(images, []Signal{ImageFSAvailable, ContainerFSAvailable}, []Signal{ImageFSInodesFree, ContainerFSInodesFree}))
}

// Split says whether images have a file system of their own.
func (m Machine) Split() bool {
	var root, images unix.Stat_t
	dir := m.Images()
	return dir != "" && unix.Stat(m.Root, &root) == nil && unix.Stat(dir, &images) == nil && root.Dev != images.Dev
}

// processes counts processes and threads: the second number of the fourth field of /proc/loadavg (proc_loadavg(5)).
func (m Machine) processes(r Reading) error {
	number := func(name string) (int64, error) {
		b, err := os.ReadFile(m.proc(name))
		if err != nil {
			return 0, err
		}
		return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	}
	limit, err := number("sys/kernel/pid_max")
	if err != nil {
		return err
	}
	if threads, err := number("sys/kernel/threads-max"); err == nil {
		limit = min(limit, threads)
	}
	b, err := os.ReadFile(m.proc("loadavg"))
	if err != nil {
		return err
	}
	f := strings.Fields(string(b))
	if len(f) < 4 {
		return fmt.Errorf("%s is %q", m.proc("loadavg"), b)
	}
	_, total, _ := strings.Cut(f[3], "/")
	used, err := strconv.ParseInt(total, 10, 64)
	if err != nil {
		return err
	}
	r[PIDAvailable] = Level{limit - used, limit}
	return nil
}

// stallTrigger asks the kernel for a word when tasks have waited for memory for 200 ms of two seconds: Documentation/accounting/psi.rst.
// Without CAP_SYS_RESOURCE, which some hosts withhold from root, nothing but multiples of two seconds is allowed.
const stallTrigger = "some 200000 2000000"

// stalls tells when the machine begins to wait for memory. Where the kernel can not say, nothing is ever told.
func (m Machine) stalls(ctx context.Context, log *slog.Logger) <-chan struct{} {
	return m.pressure(ctx, "memory", stallTrigger, log)
}

// pressure tells each time that a trigger of one of the kernel's pressure files fires, until ctx ends.
func (m Machine) pressure(ctx context.Context, of, trigger string, log *slog.Logger) <-chan struct{} {
	out := make(chan struct{}, 1)
	file, poll, err := arm(m.proc("pressure/"+of), trigger)
	if err != nil {
		log.Info("the kernel does not tell of stalls: what runs short is seen at the next look", "of", of, "err", err)
		return out
	}
	context.AfterFunc(ctx, func() { poll.Close() })
	go func() { // ends when poll is closed
		defer unix.Close(file)
		conn, err := poll.SyscallConn()
		if err != nil {
			return
		}
		events := make([]unix.EpollEvent, 1)
		for ctx.Err() == nil {
			woken := false
			err := conn.Read(func(fd uintptr) bool {
				if !woken {
					woken = true
					return false // wait
				}
				_, _ = unix.EpollWait(int(fd), events, 0) // so that the next one is news; who was woken knows enough
				return true
			})
			if err != nil {
				return
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}

// arm arms a trigger. Go's poller knows readable and writable, but not POLLPRI, which the trigger raises: an epoll descriptor that waits for
// it is readable then. The kernel tells of an event only whoever asks first, so the file itself stays a bare descriptor, of which Go's
// poller does not know.
func arm(path, trigger string) (file int, poll *os.File, err error) {
	if file, err = unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
		return -1, nil, fmt.Errorf("open %s: %w", path, err)
	}
	if _, err = unix.Write(file, append([]byte(trigger), 0)); err != nil {
		return -1, nil, errors.Join(fmt.Errorf("arm %s: %w", path, err), unix.Close(file))
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return -1, nil, errors.Join(err, unix.Close(file))
	}
	if err = unix.SetNonblock(fd, true); err == nil {
		err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, file, &unix.EpollEvent{Events: unix.EPOLLPRI | unix.EPOLLET})
	}
	if err != nil {
		return -1, nil, errors.Join(err, unix.Close(fd), unix.Close(file))
	}
	return file, os.NewFile(uintptr(fd), "stalls"), nil
}
