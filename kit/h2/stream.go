package h2

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// stream is one request and its answer.
type stream struct {
	conn     *conn
	id       uint32
	cancel   context.CancelFunc
	request  *http.Request
	response response
	declared int64 // length of the body; -1: not said

	// Guarded by conn.mu.
	changed sync.Cond // of conn.mu: what a handler may be waiting for
	window  int64     // bytes that may be sent
	inflow  inflow
	ended   bool        // the peer has said all
	queued  bool        // in conn.queue
	err     error       // why it is over, one way or the other
	body    []byte      // what has come
	at      int         // of which so much is read
	got     int64       // in all
	bodyErr error       // what comes after body; nil: more
	goOn    bool        // the peer waits for a 100 (Continue)
	trailer http.Header // has come, and is shown at the end of the body
	readBy  *time.Timer // deadlines
	writeBy *time.Timer
}

var (
	errOver   = errors.New("the stream is over")
	errReset  = errors.New("the stream was reset by the client")
	errClosed = errors.New("body closed by handler")
	errPanic  = errors.New("the handler has panicked")
)

// run answers the request.
func (st *stream) run(handler func(http.ResponseWriter, *http.Request)) {
	c := st.conn
	finished := false
	defer func() {
		c.handlers.Add(-1)
		st.cancel()
		if f := st.request.MultipartForm; f != nil {
			_ = f.RemoveAll() // net/http does not look at it either
		}
		if finished {
			return
		}
		p := recover()
		c.mu.Lock()
		c.reset(st, internalError, errPanic)
		c.mu.Unlock()
		if p != nil && p != http.ErrAbortHandler {
			c.server.logf("http2: panic serving %s: %v\n%s", c.remote, p, debug.Stack())
		}
	}()
	handler(&st.response, st.request)
	st.response.finish()
	finished = true
}

// close takes st out of its connection and releases everybody who waits for it. c.mu is held.
func (c *conn) close(st *stream, why error) {
	if st.err != nil {
		return
	}
	st.err = why
	delete(c.streams, st.id)
	if len(c.streams) == 0 {
		c.rested = time.Now()
		c.lingerIfOver()
	}
	if unread := len(st.body) - st.at; unread > 0 && c.err == nil {
		c.credit(nil, unread)
	}
	st.body, st.at = nil, 0
	if st.bodyErr == nil {
		st.bodyErr = why
	}
	for _, t := range []*time.Timer{st.readBy, st.writeBy} {
		if t != nil {
			t.Stop()
		}
	}
	if why != errOver {
		c.breakOff(st)
		st.cancel()
	}
	st.changed.Broadcast()
}

// take appends what has come of the body. c.mu is held.
func (st *stream) take(p []byte) {
	st.got += int64(len(p))
	if st.bodyErr != nil { // nobody reads it
		st.conn.credit(nil, len(p))
		return
	}
	if st.at > 0 && len(st.body)+len(p) > cap(st.body) {
		st.body, st.at = st.body[:copy(st.body, st.body[st.at:])], 0
	}
	st.body = append(st.body, p...)
	st.changed.Broadcast()
}

// endBody is said when the peer has sent the last of it. c.mu is held.
func (st *stream) endBody() {
	st.ended = true
	switch {
	case st.bodyErr != nil:
	case st.declared >= 0 && st.declared != st.got:
		st.bodyErr = errors.New("request declared a Content-Length that is not that of its body")
	default:
		st.bodyErr = io.EOF
	}
	st.changed.Broadcast()
}

// body is a request's body as the handler sees it.
type body struct{ *stream }

// Read implements io.Reader.
func (b body) Read(p []byte) (int, error) {
	st := b.stream
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.goOn {
		st.goOn = false
		if st.err == nil && !st.ended {
			out := c.out(0)
			*out = appendBlock(*out, st.id, []byte(statusContinue), false, c.maxFrame)
			c.kick()
		}
	}
	for {
		if n := copy(p, st.body[st.at:]); n > 0 {
			if st.at += n; st.at == len(st.body) {
				st.body, st.at = st.body[:0], 0
			}
			c.credit(st, n)
			return n, nil
		}
		if st.bodyErr != nil {
			if st.bodyErr == io.EOF {
				st.showTrailer()
			}
			return 0, st.bodyErr
		}
		if len(p) == 0 {
			return 0, nil
		}
		st.changed.Wait()
	}
}

// Close implements io.Closer. What comes afterwards is thrown away.
func (b body) Close() error {
	st := b.stream
	st.conn.mu.Lock()
	defer st.conn.mu.Unlock()
	if unread := len(st.body) - st.at; unread > 0 {
		st.conn.credit(nil, unread)
	}
	st.body, st.at, st.bodyErr = nil, 0, errClosed
	st.changed.Broadcast()
	return nil
}

// showTrailer copies the fields that were announced to where the handler looks for them. conn.mu is held.
func (st *stream) showTrailer() {
	for name, values := range st.trailer {
		if _, announced := st.request.Trailer[name]; announced {
			st.request.Trailer[name] = values
		}
	}
	st.trailer = nil
}

// readBefore and writeBefore set deadlines; the zero time is none. A stream whose answer was not taken in time is reset.
func (st *stream) readBefore(t time.Time) {
	st.conn.mu.Lock()
	defer st.conn.mu.Unlock()
	st.setTimer(&st.readBy, t, func() {
		if st.bodyErr == nil {
			st.bodyErr = os.ErrDeadlineExceeded
			st.changed.Broadcast()
		}
	})
}

func (st *stream) writeBefore(t time.Time) {
	st.conn.mu.Lock()
	defer st.conn.mu.Unlock()
	st.setTimer(&st.writeBy, t, func() { st.conn.reset(st, internalError, os.ErrDeadlineExceeded) })
}

// setTimer calls late at t, at once if t has passed. conn.mu is held, and is when late is called.
func (st *stream) setTimer(timer **time.Timer, t time.Time, late func()) {
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	if t.IsZero() || st.err != nil {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		late()
		return
	}
	var mine *time.Timer
	mine = time.AfterFunc(left, func() {
		st.conn.mu.Lock()
		defer st.conn.mu.Unlock()
		if *timer == mine { // it may have been moved meanwhile
			late()
		}
	})
	*timer = mine
}
