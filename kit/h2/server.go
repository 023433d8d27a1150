package h2

import (
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// server is what the connections of one http.Server share.
type server struct {
	http        *http.Server
	maxStreams  int    // of one connection at once
	maxFrame    uint32 // that peers may send
	window      int32  // that peers get for a stream, and for a connection
	headerLimit int    // bytes of a header list, as RFC 9113 section 6.5.2 counts them
	date        atomic.Pointer[date]
	buffers     pools
	crew        crew

	mu     sync.Mutex // guards what follows
	conns  map[*conn]struct{}
	ending bool
}

// Defaults of net/http.
const (
	defaultStreams = 250
	uploadWindow   = 1 << 20
)

// Install makes srv speak HTTP/2 by this package, on connections that the returned listener accepts. It reads srv's fields for time
// limits, sizes and HTTP2 as they are then, so they are set before.
func Install(srv *http.Server, l net.Listener) net.Listener {
	s := &server{http: srv, maxStreams: defaultStreams, maxFrame: 1 << 20, window: uploadWindow, conns: map[*conn]struct{}{}}
	if conf := srv.HTTP2; conf != nil {
		if conf.MaxConcurrentStreams > 0 {
			s.maxStreams = conf.MaxConcurrentStreams
		}
		if conf.MaxReadFrameSize >= minMaxFrame && conf.MaxReadFrameSize <= maxMaxFrame {
			s.maxFrame = uint32(conf.MaxReadFrameSize)
		}
	}
	s.headerLimit = http.DefaultMaxHeaderBytes
	if srv.MaxHeaderBytes > 0 {
		s.headerLimit = srv.MaxHeaderBytes
	}
	s.headerLimit += 10 * fieldOverhead // net/http's idea of how many fields there are
	if srv.TLSNextProto == nil {
		srv.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	srv.TLSNextProto["h2"] = s.serve
	srv.RegisterOnShutdown(s.shutdown)
	return listener{l, &s.buffers}
}

// shutdown tells every peer to go, and has connections end when their streams have.
func (s *server) shutdown() {
	s.mu.Lock()
	s.ending = true
	var all []*conn
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.goAway()
	}
}

func (s *server) add(c *conn) {
	s.mu.Lock()
	s.conns[c] = struct{}{}
	ending := s.ending
	s.mu.Unlock()
	if ending {
		c.goAway()
	}
}

func (s *server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 {
		s.crew.dismiss()
	}
}

func (s *server) logf(format string, args ...any) {
	if s.http.ErrorLog != nil {
		s.http.ErrorLog.Printf(format, args...)
		return
	}
	log.Printf(format, args...)
}

// date is what the Date field says during one second.
type date struct {
	second int64
	text   string
}

func (s *server) now() string {
	now := time.Now()
	if d := s.date.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &date{second: now.Unix(), text: now.UTC().Format(http.TimeFormat)}
	s.date.Store(d)
	return d.text
}
