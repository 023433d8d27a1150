package cni

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/vishvananda/netlink"
)

// removals deletes links in the background, in the order in which they were added. Its goroutine lives as long as there is
// work; wait waits for it. What a crash cuts off is found by Reconcile at the next start.
type removals struct {
	nl  *netlink.Handle
	log *slog.Logger

	mu    sync.Mutex // guards all below
	names []string
	idle  chan struct{} // closed when the work is done; nil if there is none
}

// add schedules the removal of a link, which need not exist.
func (r *removals) add(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, name)
	if r.idle == nil {
		r.idle = make(chan struct{})
		go r.work(r.idle)
	}
}

func (r *removals) work(idle chan struct{}) {
	defer close(idle)
	for {
		r.mu.Lock()
		if len(r.names) == 0 {
			r.idle = nil
			r.mu.Unlock()
			return
		}
		name := r.names[0]
		r.names = r.names[1:]
		r.mu.Unlock()
		if err := r.remove(name); err != nil {
			r.log.Error("cannot remove the interface of a dead pod", "link", name, "err", err)
		}
	}
}

func (r *removals) remove(name string) error {
	l, err := r.nl.LinkByName(name)
	if err == nil {
		err = r.nl.LinkDel(l)
	}
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone || noDevice(err) {
		return nil // it went with the pod's namespace
	}
	return err
}

// wait returns when nothing is left to remove.
func (r *removals) wait(ctx context.Context) error {
	for {
		r.mu.Lock()
		idle := r.idle
		r.mu.Unlock()
		if idle == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-idle:
		}
	}
}
