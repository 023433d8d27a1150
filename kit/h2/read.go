package h2

import (
	"encoding/binary"
	"io"
	"slices"
	"time"
)

// read fills b from the frame under way.
func (c *conn) read(b []byte) error {
	if len(b) > c.left {
		return &connError{frameSizeError, "a frame is too short"}
	}
	n, err := io.ReadFull(c.tls, b)
	c.left -= n
	return err
}

// skip throws away what is left of the frame.
func (c *conn) skip() error {
	if c.left == 0 {
		return nil
	}
	b := c.server.buffers.get(4 << 10)
	defer c.server.buffers.put(b)
	for c.left > 0 {
		if err := c.read((*b)[:min(c.left, cap(*b))]); err != nil {
			return err
		}
	}
	return nil
}

// process does what a frame says.
func (c *conn) process(f frame) error {
	switch f.kind {
	case frameData:
		return c.data(f)
	case frameHeaders:
		return c.headers(f)
	case framePriority:
		return c.priority(f)
	case frameReset:
		return c.resetByPeer(f)
	case frameSettings:
		return c.settings(f)
	case framePing:
		return c.ping(f)
	case frameGoAway:
		return c.peerGoes(f)
	case frameWindow:
		return c.windowUpdate(f)
	case framePush, frameContinuation:
		return &connError{protocolError, "a frame that may not come now"}
	}
	return c.idler() // unknown: ignored, RFC 9113 section 5.5
}

// What a peer may send that carries nothing, RFC 9113 section 10.5.
const (
	uselessLimit = 10_000
	uselessTime  = 10 * time.Second
)

// idler counts a frame that carries nothing, and ends the connection of a peer that sends many.
func (c *conn) idler() error {
	if c.useless++; c.useless < uselessLimit {
		return nil
	}
	c.useless = 0
	began := c.calm
	if c.calm = time.Now(); c.calm.Sub(began) < uselessTime {
		return &connError{enhanceYourCalm, "too many frames that carry nothing"}
	}
	return nil
}

// control queues a frame that the peer has made us send. c.mu is held.
func (c *conn) control() (*[]byte, error) {
	if c.controls++; c.controls > controlLimit {
		return nil, &connError{enhanceYourCalm, "too many frames to answer that are not read"}
	}
	c.kick()
	return c.out(0), nil
}

// resetByReader resets the stream of an error.
func (c *conn) resetByReader(e *streamError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if st := c.streams[e.id]; st != nil {
		c.reset(st, e.code, e)
		return
	}
	c.tidy(e.id, e.code)
	c.kick()
}

// isIdle says whether no request has begun that stream. c.mu is held.
func (c *conn) isIdle(id uint32) bool { return id%2 == 0 || id > c.seen }

// ignored says whether frames of a stream are thrown away: it came after a GOAWAY, or was reset by us. c.mu is held.
func (c *conn) ignored(id uint32) bool {
	return c.gone && id > c.last || slices.Contains(c.tidied[:], id)
}

// data is DATA, RFC 9113 section 6.1.
func (c *conn) data(f frame) error {
	if f.stream == 0 {
		return &connError{protocolError, "DATA without a stream"}
	}
	pad, err := c.padding(f)
	if err != nil {
		return err
	}
	if c.left == 0 && !f.has(flagEndStream) {
		if err := c.idler(); err != nil {
			return err
		}
	}
	st, err := c.accept(f, c.left-pad)
	if st == nil {
		return err
	}
	b := c.server.buffers.get(min(c.left, 16<<10))
	defer c.server.buffers.put(b)
	for c.left > pad {
		part := (*b)[:min(c.left-pad, cap(*b))]
		if err := c.read(part); err != nil {
			return err
		}
		c.mu.Lock()
		st.take(part)
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.has(flagPadded) {
		c.credit(st, pad+1) // nobody reads it
	}
	if f.has(flagEndStream) {
		st.endBody()
	}
	return nil
}

// padding reads how much padding a frame has.
func (c *conn) padding(f frame) (int, error) {
	if !f.has(flagPadded) {
		return 0, nil
	}
	var n [1]byte
	if err := c.read(n[:]); err != nil {
		return 0, err
	}
	if int(n[0]) > c.left {
		return 0, &connError{protocolError, "more padding than frame"}
	}
	return int(n[0]), nil
}

// accept is the stream that takes the size bytes of a DATA frame. Without one they are to be thrown away.
func (c *conn) accept(f frame, size int) (*stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !(c.gone && f.stream > c.last) && c.isIdle(f.stream) {
		return nil, &connError{protocolError, "DATA on an idle stream"}
	}
	if !c.inflow.take(f.length) {
		return nil, &connError{flowControlError, "more DATA than the connection's window allows"}
	}
	st := c.streams[f.stream]
	var why *streamError
	switch {
	case st == nil && c.ignored(f.stream):
	case st == nil || st.ended:
		why = &streamError{f.stream, streamClosed, "DATA after the end"}
	case st.declared >= 0 && st.got+int64(size) > st.declared:
		why = &streamError{f.stream, protocolError, "more DATA than declared"}
	case !st.inflow.take(f.length):
		why = &streamError{f.stream, flowControlError, "more DATA than the stream's window allows"}
	default:
		return st, nil
	}
	c.credit(nil, f.length)
	if why != nil {
		return nil, why
	}
	return nil, nil
}

// priority is PRIORITY, which is deprecated: RFC 9113 section 5.3.
func (c *conn) priority(f frame) error {
	if f.stream == 0 {
		return &connError{protocolError, "PRIORITY without a stream"}
	}
	if f.length != 5 {
		return &streamError{f.stream, frameSizeError, "PRIORITY of a wrong length"}
	}
	var b [4]byte
	if err := c.read(b[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(b[:])&^(1<<31) == f.stream {
		return &streamError{f.stream, protocolError, "a stream depends on itself"}
	}
	return c.idler()
}

// resetByPeer is RST_STREAM, RFC 9113 section 6.4.
func (c *conn) resetByPeer(f frame) error {
	if f.length != 4 {
		return &connError{frameSizeError, "RST_STREAM of a wrong length"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone && f.stream > c.last {
		return nil
	}
	if c.isIdle(f.stream) {
		return &connError{protocolError, "RST_STREAM on an idle stream"}
	}
	if st := c.streams[f.stream]; st != nil {
		c.close(st, errReset)
		return nil
	}
	return c.idler()
}

// settings is SETTINGS, RFC 9113 section 6.5.
func (c *conn) settings(f frame) error {
	if f.stream != 0 {
		return &connError{protocolError, "SETTINGS on a stream"}
	}
	if f.has(flagAck) {
		if f.length != 0 {
			return &connError{frameSizeError, "an acknowledgement with settings"}
		}
		return c.idler()
	}
	if f.length%6 != 0 {
		return &connError{frameSizeError, "SETTINGS of a wrong length"}
	}
	if f.length > 100*6 {
		return &connError{enhanceYourCalm, "very many settings"}
	}
	initial := int64(-1)
	for c.left > 0 {
		var b [6]byte
		if err := c.read(b[:]); err != nil {
			return err
		}
		id, v := binary.BigEndian.Uint16(b[:]), binary.BigEndian.Uint32(b[2:])
		if err := c.set(id, v); err != nil {
			return err
		}
		if id == settingInitialWindow {
			initial = int64(v) // the last one counts, and moves every stream
		}
	}
	if initial >= 0 {
		if err := c.setWindows(initial); err != nil {
			return err
		}
	}
	if !c.settled {
		c.settled = true
		_ = c.wire.SetReadDeadline(time.Time{}) // the greeting is over
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.control()
	if err != nil {
		return err
	}
	*b = appendHead(*b, frame{kind: frameSettings, flags: flagAck})
	return c.idler()
}

// set does what one setting says.
func (c *conn) set(id uint16, v uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch id {
	case settingPush:
		if v > 1 {
			return &connError{protocolError, "ENABLE_PUSH is neither 0 nor 1"}
		}
	case settingMaxFrame:
		if v < minMaxFrame || v > maxMaxFrame {
			return &connError{protocolError, "MAX_FRAME_SIZE is out of range"}
		}
		c.maxFrame = int(v)
	case settingInitialWindow:
		if v > maxWindow {
			return &connError{flowControlError, "INITIAL_WINDOW_SIZE is out of range"}
		}
	}
	return nil // the encoder has no table, and pushes nothing
}

// setWindows moves the windows of all streams, RFC 9113 section 6.9.2.
func (c *conn) setWindows(initial int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	growth := initial - c.initial
	c.initial = initial
	for _, st := range c.streams {
		if st.window += growth; st.window > maxWindow {
			return &connError{flowControlError, "INITIAL_WINDOW_SIZE makes a window too large"}
		}
		st.changed.Broadcast()
	}
	return nil
}

// ping is PING, RFC 9113 section 6.7.
func (c *conn) ping(f frame) error {
	if f.stream != 0 {
		return &connError{protocolError, "PING on a stream"}
	}
	if f.length != 8 {
		return &connError{frameSizeError, "PING of a wrong length"}
	}
	var b [8]byte
	if err := c.read(b[:]); err != nil {
		return err
	}
	if f.has(flagAck) {
		return c.idler()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out, err := c.control()
	if err != nil {
		return err
	}
	*out = append(appendHead(*out, frame{kind: framePing, flags: flagAck, length: 8}), b[:]...)
	return c.idler()
}

// peerGoes is GOAWAY, RFC 9113 section 6.8: the peer begins nothing more.
func (c *conn) peerGoes(f frame) error {
	if f.stream != 0 {
		return &connError{protocolError, "GOAWAY on a stream"}
	}
	if f.length < 8 {
		return &connError{frameSizeError, "GOAWAY of a wrong length"}
	}
	c.goAway()
	return c.idler()
}

// windowUpdate is WINDOW_UPDATE, RFC 9113 section 6.9.
func (c *conn) windowUpdate(f frame) error {
	if f.length != 4 {
		return &connError{frameSizeError, "WINDOW_UPDATE of a wrong length"}
	}
	var b [4]byte
	if err := c.read(b[:]); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(b[:]) &^ (1 << 31))
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream == 0 {
		if n == 0 {
			return &connError{protocolError, "WINDOW_UPDATE by 0"}
		}
		if c.window += n; c.window > maxWindow {
			return &connError{flowControlError, "the connection's window is too large"}
		}
		c.passOn()
		return nil
	}
	if n == 0 {
		return &streamError{f.stream, protocolError, "WINDOW_UPDATE by 0"}
	}
	if !(c.gone && f.stream > c.last) && c.isIdle(f.stream) {
		return &connError{protocolError, "WINDOW_UPDATE on an idle stream"}
	}
	if st := c.streams[f.stream]; st != nil {
		if st.window += n; st.window > maxWindow {
			return &streamError{f.stream, flowControlError, "the stream's window is too large"}
		}
		st.changed.Broadcast()
	}
	return nil
}
