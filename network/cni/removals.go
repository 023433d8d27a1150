package cni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// removals deletes links in the background, in the order in which they were added. Deleting one takes the kernel 18 ms, and
// deleting a whole group hardly more: so all that wait are put into one group and deleted together. The goroutine lives as long
// as there is work; wait waits for it. What a crash cuts off is found by Reconcile at the next start.
type removals struct {
	nl   *netlink.Handle
	sock *nl.NetlinkSocket // for what the library has no call for
	log  *slog.Logger

	mu    sync.Mutex // guards all below
	names []string
	idle  chan struct{} // closed when the work is done; nil if there is none
}

// dyingGroup is the link group of what is about to be deleted ("ps" and nothing that an interface index gives).
const dyingGroup = 0x7073 << 16

func openRemovals(h *netlink.Handle, log *slog.Logger) (*removals, error) {
	sock, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &removals{nl: h, sock: sock, log: log}, nil
}

func (r *removals) close() { r.sock.Close() }

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
		names := r.names
		r.names = nil
		if len(names) == 0 {
			r.idle = nil
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		if err := r.remove(names); err != nil {
			r.log.Error("cannot remove interfaces of dead pods", "links", names, "err", err)
		}
	}
}

// remove deletes links; those that went with their pod's namespace are no error.
func (r *removals) remove(names []string) error {
	var errs error
	n := 0
	for _, name := range names {
		l, err := r.nl.LinkByName(name)
		if err == nil && len(names) == 1 {
			return ignoreGone(r.nl.LinkDel(l))
		}
		if err == nil {
			err = r.nl.LinkSetGroup(l, dyingGroup)
		}
		if err == nil {
			n++
		}
		errs = errors.Join(errs, ignoreGone(err))
	}
	if n > 0 {
		errs = errors.Join(errs, ignoreGone(r.removeGroup()))
	}
	return errs
}

func (r *removals) removeGroup() error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: r.sock}}
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(dyingGroup)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func ignoreGone(err error) error {
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone || errors.Is(err, unix.ENODEV) {
		return nil
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
