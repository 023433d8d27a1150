package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"proa.dev/test/machine"
)

// settled is when a daemon has given back what only its start needed.
const settled = 20 * time.Second

// serve starts a daemon in the foreground, with its output in a file of that name. stop ends it and waits.
func (h *host) serve(name string) (stop func(), err error) {
	log, err := os.Create(filepath.Join(h.Dir, name))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	daemon := h.Command("proa", "server")
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		return nil, err
	}
	return func() {
		daemon.Process.Signal(syscall.SIGTERM)
		daemon.Wait()
	}, nil
}

// daemon is the process id of the daemon on the machine.
func (h *host) daemon() (int, error) {
	data, err := os.ReadFile(filepath.Join(h.Run, "lock"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// keepers are the keeper processes of the machine's pods; standby is the one that waits to answer DNS.
func (h *host) keepers() (keepers []int, standby int, err error) {
	list, err := machine.Processes()
	for _, p := range list {
		if !strings.Contains(p.Program, "memfd:proa-keeper") {
			continue
		}
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID)) // empty if it has just ended
		switch {
		case strings.Contains(string(command), h.Run+"/dns"):
			standby = p.PID
		case strings.Contains(p.Cgroup, filepath.Base(h.Run)+"/"):
			keepers = append(keepers, p.PID)
		}
	}
	return keepers, standby, err
}

// cpu is the time a process has spent in user and kernel mode.
func cpu(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, err // USER_HZ is 100
}

// resident is VmRSS in bytes; private is what only this process holds.
func resident(pid int) (rss, private int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		kb, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "Rss:":
			rss = kb << 10
		case "Private_Clean:", "Private_Dirty:":
			private += kb << 10
		}
	}
	return rss, private, nil
}
