package dns

import (
	"context"
	"net/netip"
	"time"

	"proa.dev/network/dns/standby"
)

// writeAfter gathers changes before the standby's table is written again: so old may its answers be.
const writeAfter = 200 * time.Millisecond

// KeepStandby starts a standby once all names are known, and keeps its table up to date until ctx ends. program is the keeper binary. The
// standby stays when ctx ends: it takes over when hold is closed, or this process dies.
func (s *Server) KeepStandby(ctx context.Context, hold *Hold, program string) error {
	select {
	case <-s.synced:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := hold.Write(s.table()); err != nil {
		return err
	}
	if err := hold.Start(program); err != nil {
		return err
	}
	for {
		select {
		case <-s.zone.index.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-time.After(writeAfter):
		case <-ctx.Done():
		}
		if err := hold.Write(s.table()); err != nil {
			s.deps.Log.Warn("table of the standby not written", "err", err)
		}
	}
}

// table is all names of services as they are now.
func (s *Server) table() *standby.Table {
	t := &standby.Table{Domain: s.zone.domain, Listen: s.deps.Listen, Names: map[string][]netip.Addr{}, Aliases: map[string]string{}}
	if s.deps.Upstreams != nil {
		t.Upstreams = s.deps.Upstreams()
	}
	x := s.zone.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	for name, e := range x.services {
		full := name + ".svc." + s.zone.domain
		if e.external != "" {
			t.Aliases[full] = e.external
			continue
		}
		t.Names[full] = e.addrs
		for host, addrs := range e.hosts {
			t.Names[host+"."+full] = addrs
		}
	}
	return t
}
