package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"

	"proa.dev/client"
	"proa.dev/kit/run"
)

const (
	// maxUDP is the largest answer over UDP, however much a client takes: what passes every network in one piece (DNS flag day 2020).
	maxUDP = 1232
	// minUDP is what every client takes (RFC 1035).
	minUDP = 512
	// maxTCP bounds the open TCP connections of one listener.
	maxTCP      = 256
	idleTimeout = 10 * time.Second
	acceptPause = 100 * time.Millisecond
	// maxFailures in a row end a UDP listener.
	maxFailures = 1000
	// maxWaiting bounds the queries over UDP that wait for something.
	maxWaiting = 2 * maxForwards
)

// Deps is what a Server needs.
type Deps struct {
	View   client.View // of Services and EndpointSlices
	Domain string      // "cluster.local"
	Listen []netip.AddrPort
	// Upstreams are the resolvers for all other names, asked for with every query: see HostUpstreams. None or nil: SERVFAIL.
	Upstreams func() []netip.AddrPort
	Log       *slog.Logger
}

// Server is the cluster's DNS on one node.
type Server struct {
	deps    Deps
	zone    *zone
	forward *forwarder
	udp     []*net.UDPConn
	tcp     []net.Listener
	waiting chan struct{}
	synced  chan struct{}

	mu    sync.Mutex // guards begun
	begun int        // of the two watches, how many have told everything
}

// New opens the sockets, on UDP and TCP; Run serves them. Port 0 takes a free port, the same for both.
func New(d Deps) (*Server, error) {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	domain := strings.ToLower(strings.Trim(d.Domain, ".")) + "."
	if _, ok := mdns.IsDomainName(domain); !ok || domain == "." {
		return nil, fmt.Errorf("cluster domain %q is no domain name", d.Domain)
	}
	wire := make([]byte, 256)
	n, err := mdns.PackDomainName(domain, wire, 0, nil, false)
	if err != nil {
		return nil, fmt.Errorf("cluster domain %q: %w", d.Domain, err)
	}
	s := &Server{deps: d, zone: &zone{domain: domain, wire: wire[:n], index: newIndex()}, waiting: make(chan struct{}, maxWaiting), synced: make(chan struct{})}
	s.forward = newForwarder(d)
	for _, at := range d.Listen {
		if err := s.listen(at); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) listen(at netip.AddrPort) error {
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return fmt.Errorf("listen for DNS: %w", err)
	}
	s.udp = append(s.udp, u)
	at = netip.AddrPortFrom(at.Addr(), u.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return fmt.Errorf("listen for DNS: %w", err)
	}
	s.tcp = append(s.tcp, l)
	return nil
}

// Addrs are the addresses that the server listens on.
func (s *Server) Addrs() []netip.AddrPort {
	var out []netip.AddrPort
	for _, u := range s.udp {
		out = append(out, u.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	return out
}

// Synced is closed when the index knows all Services. Before, names of the cluster are answered with SERVFAIL.
func (s *Server) Synced() <-chan struct{} { return s.synced }

// Close closes the sockets of a server that does not run.
func (s *Server) Close() {
	for _, u := range s.udp {
		u.Close()
	}
	for _, l := range s.tcp {
		l.Close()
	}
}

// Run serves until ctx ends, and closes the sockets.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	parts := []run.Component{
		{Name: "watch services", Run: s.watchServices},
		{Name: "watch endpoints", Run: s.watchSlices},
		{Name: "close sockets", Run: func(ctx context.Context) error { <-ctx.Done(); s.Close(); return ctx.Err() }},
	}
	for _, u := range s.udp {
		for range runtime.GOMAXPROCS(0) {
			parts = append(parts, run.Component{Name: "serve " + u.LocalAddr().String() + "/udp",
				Run: func(ctx context.Context) error { return s.serveUDP(ctx, u) }})
		}
	}
	for _, l := range s.tcp {
		parts = append(parts, run.Component{Name: "serve " + l.Addr().String() + "/tcp",
			Run: func(ctx context.Context) error { return s.serveTCP(ctx, l) }})
	}
	return run.All(ctx, parts...)
}

func (s *Server) watchServices(ctx context.Context) error {
	return client.Watch(ctx, s.deps.View, func(t client.EventType, now, _ *core.Service) {
		switch t {
		case client.Synced:
			s.begin()
		case client.Deleted:
			s.zone.index.takeService(now)
		default:
			s.zone.index.putService(now)
		}
	})
}

func (s *Server) watchSlices(ctx context.Context) error {
	return client.Watch(ctx, s.deps.View, func(t client.EventType, now, _ *discovery.EndpointSlice) {
		switch t {
		case client.Synced:
			s.begin()
		case client.Deleted:
			s.zone.index.takeSlice(now)
		default:
			s.zone.index.putSlice(now)
		}
	})
}

func (s *Server) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun++; s.begun == 2 {
		close(s.synced)
	}
}

func (s *Server) ready() bool {
	select {
	case <-s.synced:
		return true
	default:
		return false
	}
}

// serveUDP answers packets one after the other; those that may wait for an upstream get a goroutine, which ends with its answer,
// at the latest when ctx does.
func (s *Server) serveUDP(ctx context.Context, u *net.UDPConn) error {
	in, out := make([]byte, 4096), make([]byte, 0, maxUDP)
	failed := 0
	for {
		n, from, err := u.ReadFromUDPAddrPort(in)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // an ICMP error for an earlier answer, or something that lasts
			if failed++; failed > maxFailures {
				return fmt.Errorf("read: %w", err)
			}
			continue
		}
		failed = 0
		if s.ready() {
			if answer, ok := s.zone.fast(in[:n], out[:0]); ok {
				u.WriteToUDPAddrPort(answer, from)
				continue
			}
		}
		select {
		case s.waiting <- struct{}{}:
			packet := append([]byte(nil), in[:n]...)
			go func() {
				defer func() { <-s.waiting }()
				if answer := s.answer(ctx, packet, false); answer != nil {
					u.WriteToUDPAddrPort(answer, from)
				}
			}()
		default: // overloaded: the client asks again
		}
	}
}

// answer answers one message; nil if it deserves none.
func (s *Server) answer(ctx context.Context, packet []byte, overTCP bool) []byte {
	req := new(mdns.Msg)
	if err := req.Unpack(packet); err != nil {
		if len(packet) < 12 || packet[2]&0x80 != 0 {
			return nil // no header, or an answer itself
		}
		bad := new(mdns.Msg)
		bad.Id, bad.Response, bad.Rcode = uint16(packet[0])<<8|uint16(packet[1]), true, mdns.RcodeFormatError
		return pack(bad)
	}
	if req.Response {
		return nil
	}
	var m *mdns.Msg
	if !s.ready() && len(req.Question) == 1 && s.zone.has(strings.ToLower(req.Question[0].Name)) {
		m = new(mdns.Msg).SetRcode(req, mdns.RcodeServerFailure)
	} else {
		m = s.resolve(ctx, req, overTCP)
	}
	size := mdns.MaxMsgSize
	if opt := req.IsEdns0(); opt != nil {
		m.SetEdns0(maxUDP, opt.Do())
		if m.Rcode == mdns.RcodeBadVers {
			m.IsEdns0().SetExtendedRcode(mdns.RcodeBadVers)
		}
		if !overTCP {
			size = min(max(int(opt.UDPSize()), minUDP), maxUDP)
		}
	} else if !overTCP {
		size = minUDP
	}
	m.Truncate(size) // which turns compression off where all fits without it
	m.Compress = true
	if raw := pack(m); raw != nil {
		return raw
	}
	return pack(new(mdns.Msg).SetRcode(req, mdns.RcodeServerFailure))
}

func pack(m *mdns.Msg) []byte {
	raw, err := m.Pack()
	if err != nil {
		return nil
	}
	return raw
}

// serveTCP answers connections, at most maxTCP at a time; it returns when all have ended.
func (s *Server) serveTCP(ctx context.Context, l net.Listener) error {
	slots := make(chan struct{}, maxTCP)
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return errors.Join(ctx.Err(), err)
		}
		if err != nil { // no file descriptors left: others will close some
			s.deps.Log.Warn("cannot accept a DNS connection", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		conns.Go(func() {
			defer func() { <-slots }()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			defer c.Close()
			s.serveConn(ctx, c)
		})
	}
}

// serveConn answers queries until the client ends or is idle.
func (s *Server) serveConn(ctx context.Context, c net.Conn) {
	conn := &mdns.Conn{Conn: c}
	buf := make([]byte, mdns.MaxMsgSize)
	for ctx.Err() == nil {
		if c.SetDeadline(time.Now().Add(idleTimeout)) != nil {
			return
		}
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		answer := s.answer(ctx, buf[:n], true)
		if answer == nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}
