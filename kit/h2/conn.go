package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
)

// Times of a connection.
const (
	helloLimit = 10 * time.Second // for the preface and the first SETTINGS
	blockLimit = 30 * time.Second // for the rest of a header block
	lingerFor  = time.Second      // after a GOAWAY, so that the peer reads it before the connection is reset
)

// tableSize is that of the decoder's table, RFC 7541 section 4.2.
const tableSize = 4096

// conn is one connection.
type conn struct {
	server  *server
	tls     io.ReadWriter
	wire    *wire // below tls
	state   tls.ConnectionState
	handler http.Handler
	base    context.Context // of requests; cancelled when the connection ends
	remote  string

	handlers atomic.Int32 // running, of streams that are reset too

	// What only the reader touches.
	head    [headLen]byte
	decoder *hpack.Decoder
	block   block
	left    int       // bytes of the frame under way that are not read yet
	useless int       // frames that carry nothing, since calm
	calm    time.Time // when they were counted from 0
	settled bool      // the peer's first SETTINGS are here

	mu       sync.Mutex // guards what follows, and what streams say that it guards
	pending  *[]byte    // frames to be sent; nil: none
	sending  bool       // somebody is in send, or about to be
	sender   *stream    // whose handler that is; nil: a goroutine of its own
	broken   bool       // the sender's write was broken off: its deadline has to be taken back
	controls int        // frames that are pending and no part of an answer
	streams  map[uint32]*stream
	queue    []*stream // waiting for the connection's window and for room in pending
	cramped  []*stream // waiting for room in pending only
	window   int64     // bytes that may be sent
	inflow   inflow
	initial  int64     // the window of a new stream
	maxFrame int       // that may be sent
	seen     uint32    // the last stream that the peer has begun
	gone     bool      // a GOAWAY was sent, with the last stream that is served
	last     uint32    // that stream
	tidied   [8]uint32 // streams reset by us lately: what the peer sent before it knew is no error
	tidiedAt int
	err      error // why the connection has ended
	idle     *time.Timer
	rested   time.Time // when the last stream ended
}

// serve is what http.Server calls with a connection that has agreed on h2. It returns when the connection has ended.
func (s *server) serve(_ *http.Server, tc *tls.Conn, h http.Handler) {
	w, ok := tc.NetConn().(*wire)
	if !ok {
		s.logf("http2: %s was not accepted by the listener that Install has made", tc.RemoteAddr())
		return
	}
	base := context.Background()
	if b, ok := h.(interface{ BaseContext() context.Context }); ok {
		base = b.BaseContext()
	}
	base, cancel := context.WithCancel(base)
	defer cancel()
	c := s.conn(tc, w, h)
	c.base, c.state = base, tc.ConnectionState()
	w.cork(true)
	defer w.cork(false) // net/http says goodbye
	s.add(c)
	defer s.remove(c)
	var err error
	if strong(&c.state) {
		err = c.run()
	} else {
		err = c.refuse(&connError{inadequateSecurity, "TLS is too weak"})
	}
	c.end(err)
}

// conn is a new connection, over what encrypts for w.
func (s *server) conn(over io.ReadWriter, w *wire, h http.Handler) *conn {
	now := time.Now()
	c := &conn{server: s, tls: over, wire: w, handler: h, base: context.Background(), remote: w.RemoteAddr().String(),
		streams: map[uint32]*stream{}, window: defaultWindow, initial: defaultWindow, maxFrame: minMaxFrame, rested: now, calm: now}
	c.inflow.avail = s.window
	c.decoder = hpack.NewDecoder(tableSize, c.field)
	c.decoder.SetMaxStringLength(s.headerLimit)
	return c
}

// run reads frames until the connection ends.
func (c *conn) run() error {
	_ = c.wire.SetReadDeadline(time.Now().Add(helloLimit)) // it fails on a connection that has ended, and then reading does too
	c.hello()
	var got [len(preface)]byte
	if _, err := io.ReadFull(c.tls, got[:]); err != nil {
		return err
	}
	if string(got[:]) != preface {
		return c.refuse(&connError{protocolError, "bogus greeting"})
	}
	if limit := c.server.http.IdleTimeout; limit > 0 {
		c.mu.Lock()
		c.idle = time.AfterFunc(limit, c.rest)
		c.mu.Unlock()
	}
	for {
		err := c.next()
		var se *streamError
		var ce *connError
		switch {
		case err == nil:
		case errors.As(err, &se):
			c.resetByReader(se)
		case errors.As(err, &ce):
			c.server.logf("http2: connection from %s: %v", c.remote, err)
			return c.refuse(ce)
		default:
			return err
		}
	}
}

// hello sends the server's preface.
func (c *conn) hello() {
	s := c.server
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.out(0)
	*b = appendSettings(*b, setting{settingMaxFrame, s.maxFrame}, setting{settingMaxStreams, uint32(s.maxStreams)},
		setting{settingMaxHeaderList, uint32(s.headerLimit)}, setting{settingInitialWindow, uint32(s.window)})
	if more := s.window - defaultWindow; more > 0 {
		*b = appendWindow(*b, 0, more)
	}
	c.send(nil) // a few bytes fit in any socket
}

// strong is what RFC 9113 section 9.2 wants of TLS.
func strong(st *tls.ConnectionState) bool {
	if st.Version != tls.VersionTLS12 {
		return st.Version > tls.VersionTLS12
	}
	switch st.CipherSuite {
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return true
	}
	return false
}

// next reads one frame and does what it says.
func (c *conn) next() error {
	if _, err := io.ReadFull(c.tls, c.head[:]); err != nil {
		return err
	}
	f := parseHead(&c.head)
	if f.length > int(c.server.maxFrame) {
		return &connError{frameSizeError, "a frame is too long"}
	}
	if !c.settled && (f.kind != frameSettings || f.has(flagAck)) {
		return &connError{protocolError, "the first frame is not SETTINGS"}
	}
	c.left = f.length
	err := c.process(f)
	var se *streamError
	if err == nil || errors.As(err, &se) { // the connection goes on: with the next frame
		if serr := c.skip(); serr != nil {
			return serr
		}
	}
	return err
}

// rest is called by the timer of an idle connection, and may come early: nothing moves the timer while there are streams.
func (c *conn) rest() {
	limit := c.server.http.IdleTimeout
	c.mu.Lock()
	left := limit
	if len(c.streams) == 0 {
		left -= time.Since(c.rested)
	}
	if c.err == nil && left > 0 {
		c.idle.Reset(left)
	}
	c.mu.Unlock()
	if left <= 0 {
		c.goAway()
	}
}

// goAway tells the peer to start no more streams. What is under way is finished first.
func (c *conn) goAway() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || c.err != nil {
		return
	}
	c.gone, c.last = true, c.seen
	b := c.out(0)
	*b = appendGoAway(*b, c.last, noError)
	c.kick() // send lingers
}

// linger lets the reader go on for a moment only. c.mu is held.
func (c *conn) linger() {
	_ = c.wire.SetReadDeadline(time.Now().Add(lingerFor)) // it fails on a connection that has ended
}

// refuse ends the connection with a GOAWAY, and reads on for a moment: closing with bytes unread would take the GOAWAY back.
func (c *conn) refuse(why *connError) error {
	c.mu.Lock()
	c.gone = true
	if c.err == nil {
		b := c.out(0)
		*b = appendGoAway(*b, c.seen, why.code)
		c.kick()
	}
	c.linger()
	c.mu.Unlock()
	b := c.server.buffers.get(4 << 10)
	defer c.server.buffers.put(b)
	for began := time.Now(); time.Since(began) < lingerFor; {
		if _, err := c.tls.Read((*b)[:cap(*b)]); err != nil {
			break
		}
	}
	return why
}

// end releases everybody: the connection is over.
func (c *conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(err)
	if c.idle != nil {
		c.idle.Stop()
	}
	if c.sending { // it may be stuck, and net/http would wait for it to say goodbye
		_ = c.wire.Close() // closing again fails, which nobody minds
	}
}

// fail marks the connection as ended. c.mu is held.
func (c *conn) fail(err error) {
	if c.err != nil {
		return
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		err = errGone
	}
	c.err = err
	for _, st := range c.streams {
		c.close(st, errGone)
	}
	if c.pending != nil && !c.sending {
		c.server.buffers.put(c.pending)
		c.pending = nil
	}
}

var errGone = errors.New("client disconnected")
