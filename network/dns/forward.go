package dns

import (
	"container/list"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// tryTimeout is how long one upstream may take; with three of them a client that waits five seconds still gets an answer.
	tryTimeout = 1500 * time.Millisecond
	// maxForwards bounds the questions that wait for upstreams at a time; more are answered with SERVFAIL.
	maxForwards = 1024
	// maxCached bounds the entries of the cache, maxCachedSize the records of one.
	maxCached     = 4096
	maxCachedSize = 4096
	// Bounds of the time an answer is kept.
	maxKeep, maxKeepNegative = 10 * time.Minute, 30 * time.Second
)

// forwarder asks the host's resolvers.
type forwarder struct {
	upstreams func() []netip.AddrPort
	own       []netip.AddrPort // never asked: that would be a loop
	log       *slog.Logger
	now       func() time.Time
	slots     chan struct{}
	good      atomic.Uint32 // the upstream that answered last is asked first
	failing   atomic.Bool   // so that a change is logged, not every query

	mu      sync.Mutex // guards all below
	flights map[question]*flight
	cache   map[question]*list.Element
	recent  *list.List // of *cached, most recent first
}

// question is what makes two queries the same.
type question struct {
	name   string
	qtype  uint16
	dnssec bool // the DO bit
	cd     bool
	tcp    bool // a truncated answer is none for TCP
}

// flight is a question that is being asked; everybody who asks the same waits for it.
type flight struct {
	done chan struct{}
	msg  *mdns.Msg // read-only once done is closed; nil if nobody answered
}

type cached struct {
	key    question
	msg    *mdns.Msg
	stored time.Time
	until  time.Time
}

func newForwarder(d Deps) *forwarder {
	return &forwarder{upstreams: d.Upstreams, own: d.Listen, log: d.Log, now: time.Now, slots: make(chan struct{}, maxForwards),
		flights: map[question]*flight{}, cache: map[question]*list.Element{}, recent: list.New()}
}

// resolve answers req from the cache or an upstream; SERVFAIL if there is none or none answers.
func (f *forwarder) resolve(ctx context.Context, req *mdns.Msg, overTCP bool) *mdns.Msg {
	q := req.Question[0]
	key := question{name: strings.ToLower(q.Name), qtype: q.Qtype, cd: req.CheckingDisabled, tcp: overTCP}
	if opt := req.IsEdns0(); opt != nil {
		key.dnssec = opt.Do()
	}
	if m := f.fromCache(key); m != nil {
		return asReplyTo(req, m)
	}
	servers := f.servers()
	if len(servers) == 0 {
		return new(mdns.Msg).SetRcode(req, mdns.RcodeServerFailure)
	}
	f.mu.Lock()
	fl, inFlight := f.flights[key]
	if !inFlight {
		fl = &flight{done: make(chan struct{})}
		f.flights[key] = fl
	}
	f.mu.Unlock()
	if !inFlight {
		f.fly(ctx, key, fl, servers)
	}
	select {
	case <-fl.done:
	case <-ctx.Done():
	}
	select {
	case <-fl.done:
		if fl.msg != nil {
			return asReplyTo(req, fl.msg)
		}
	default:
	}
	return new(mdns.Msg).SetRcode(req, mdns.RcodeServerFailure)
}

// fly asks upstreams and ends the flight.
func (f *forwarder) fly(ctx context.Context, key question, fl *flight, servers []netip.AddrPort) {
	select {
	case f.slots <- struct{}{}:
		fl.msg = f.ask(ctx, key, servers)
		<-f.slots
	default: // too many are waiting
	}
	f.mu.Lock()
	delete(f.flights, key)
	if fl.msg != nil {
		f.keep(key, fl.msg)
	}
	f.mu.Unlock()
	close(fl.done)
}

// servers are the upstreams, the last good one first.
func (f *forwarder) servers() []netip.AddrPort {
	if f.upstreams == nil {
		return nil
	}
	all := slices.DeleteFunc(slices.Clone(f.upstreams()), func(a netip.AddrPort) bool { return slices.Contains(f.own, a) })
	if n := len(all); n > 1 {
		first := int(f.good.Load()) % n
		return append(all[first:], all[:first]...)
	}
	return all
}

// ask tries one upstream after the other; nil if none answers. An answer of SERVFAIL or REFUSED counts if there is no better.
func (f *forwarder) ask(ctx context.Context, key question, servers []netip.AddrPort) *mdns.Msg {
	var fallback *mdns.Msg
	var last error
	for i, srv := range servers {
		m, err := f.exchange(ctx, key, srv)
		if err != nil {
			last = err
			if ctx.Err() != nil {
				break
			}
			continue
		}
		if m.Rcode == mdns.RcodeServerFailure || m.Rcode == mdns.RcodeRefused {
			fallback = m
			continue
		}
		if i > 0 {
			f.good.Add(uint32(i))
		}
		if f.failing.Swap(false) {
			f.log.Info("upstream resolvers answer again", "server", srv.String())
		}
		return m
	}
	if fallback == nil && ctx.Err() == nil && !f.failing.Swap(true) {
		f.log.Warn("no upstream resolver answers", "servers", len(servers), "err", last)
	}
	return fallback
}

// exchange asks one upstream, by TCP if the client uses it or the answer does not fit.
func (f *forwarder) exchange(ctx context.Context, key question, srv netip.AddrPort) (*mdns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	m := new(mdns.Msg).SetQuestion(key.name, key.qtype)
	m.CheckingDisabled = key.cd
	m.SetEdns0(maxUDP, key.dnssec)
	c := mdns.Client{Net: "udp", UDPSize: maxUDP, Timeout: tryTimeout}
	if key.tcp {
		c.Net = "tcp"
	}
	r, _, err := c.ExchangeContext(ctx, m, srv.String())
	if err == nil && r.Truncated && !key.tcp {
		c.Net = "tcp"
		if whole, _, err := c.ExchangeContext(ctx, m, srv.String()); err == nil {
			r = whole
		}
	}
	if err == nil && r.Rcode == mdns.RcodeFormatError { // a server that does not know EDNS
		m.Extra = nil
		r, _, err = c.ExchangeContext(ctx, m, srv.String())
	}
	return r, err
}

// asReplyTo makes a private copy of m that answers req: its id, its question in its own case.
func asReplyTo(req, m *mdns.Msg) *mdns.Msg {
	out := m.Copy()
	out.Id, out.Response, out.RecursionAvailable, out.Authoritative = req.Id, true, true, false
	out.RecursionDesired, out.CheckingDisabled = req.RecursionDesired, req.CheckingDisabled
	out.Question = req.Question
	asked, lower := req.Question[0].Name, strings.ToLower(req.Question[0].Name)
	for _, rr := range out.Answer {
		if strings.EqualFold(rr.Header().Name, lower) {
			rr.Header().Name = asked
		}
	}
	out.Extra = slices.DeleteFunc(out.Extra, func(rr mdns.RR) bool { return rr.Header().Rrtype == mdns.TypeOPT })
	return out
}

// fromCache is a copy of a cached answer with the time left, or nil.
func (f *forwarder) fromCache(key question) *mdns.Msg {
	f.mu.Lock()
	defer f.mu.Unlock()
	el, ok := f.cache[key]
	if !ok {
		return nil
	}
	c := el.Value.(*cached)
	now := f.now()
	if !now.Before(c.until) {
		f.recent.Remove(el)
		delete(f.cache, key)
		return nil
	}
	f.recent.MoveToFront(el)
	m := c.msg.Copy()
	age := uint32(now.Sub(c.stored) / time.Second)
	for _, section := range [][]mdns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != mdns.TypeOPT {
				h.Ttl -= min(age, h.Ttl)
			}
		}
	}
	return m
}

// keep puts an answer into the cache; f.mu is held.
func (f *forwarder) keep(key question, m *mdns.Msg) {
	d := keepFor(m)
	if d <= 0 || m.Truncated || m.Len() > maxCachedSize {
		return
	}
	now := f.now()
	if el, ok := f.cache[key]; ok {
		f.recent.Remove(el)
	}
	f.cache[key] = f.recent.PushFront(&cached{key, m, now, now.Add(d)})
	for len(f.cache) > maxCached {
		last := f.recent.Back()
		f.recent.Remove(last)
		delete(f.cache, last.Value.(*cached).key)
	}
}

// keepFor is how long an answer may be kept: the smallest TTL of its records, or for an empty one that of the SOA (RFC 2308).
func keepFor(m *mdns.Msg) time.Duration {
	if m.Rcode != mdns.RcodeSuccess && m.Rcode != mdns.RcodeNameError {
		return 0
	}
	if len(m.Answer) == 0 {
		for _, rr := range m.Ns {
			if soa, ok := rr.(*mdns.SOA); ok {
				return min(time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second, maxKeepNegative)
			}
		}
		return 0
	}
	keep := maxKeep
	for _, section := range [][]mdns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			keep = min(keep, time.Duration(rr.Header().Ttl)*time.Second)
		}
	}
	return keep
}
