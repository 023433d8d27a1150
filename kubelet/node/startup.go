package node

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"proa.dev/kit/prom"
)

// startup is when a node that is new to the API came up.
type startup struct {
	mu                              sync.Mutex // guards all
	began, tried, registered, ready time.Time
}

// tries, registers and isReady note the first time of each; the later ones count only after those before them.
func (s *startup) tries(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tried.IsZero() {
		s.tried = now
	}
}

func (s *startup) registers(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.registered.IsZero() {
		s.registered = now
	}
}

func (s *startup) isReady(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.registered.IsZero() && s.ready.IsZero() {
		s.ready = now
	}
}

// page writes how long each step took; of a node that was known before there is nothing to say.
func (s *startup) page(p *prom.Page, booted time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.registered.IsZero() {
		return
	}
	known := !booted.IsZero()
	if known {
		p.Gauge("kubelet_node_startup_pre_kubelet_duration_seconds", "[ALPHA] From the machine's start to the kubelet's.", s.began.Sub(booted).Seconds())
	}
	p.Gauge("kubelet_node_startup_pre_registration_duration_seconds", "[ALPHA] From there to the first attempt to register.", s.tried.Sub(s.began).Seconds())
	p.Gauge("kubelet_node_startup_registration_duration_seconds", "[ALPHA] From there to the registration.", s.registered.Sub(s.tried).Seconds())
	if s.ready.IsZero() {
		return
	}
	p.Gauge("kubelet_node_startup_post_registration_duration_seconds", "[ALPHA] From there to a node that is ready.", s.ready.Sub(s.registered).Seconds())
	if known {
		p.Gauge("kubelet_node_startup_duration_seconds", "[ALPHA] From the machine's start to a node that is ready.", s.ready.Sub(booted).Seconds())
	}
}

// Page writes how long the node took to come up, and which control groups it has.
func (n *Node) Page(p *prom.Page) {
	booted := time.Time{}
	var s unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &s) == nil {
		booted = time.Now().Add(-time.Duration(s.Nano()))
	}
	n.startup.page(p, booted)
	version := 1.
	var fs unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
		version = 2
	}
	p.Gauge("kubelet_cgroup_version", "[ALPHA] The version of the machine's control groups.", version)
}
