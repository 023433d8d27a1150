package h2

import (
	"encoding/binary"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// fieldOverhead is what a field counts beside its bytes, RFC 9113 section 6.5.2.
const fieldOverhead = 32

const (
	blockSlack = 64 << 10 // bytes that a block may have beyond what its fields count
	mostParts  = 256      // frames of one block beyond those that it needs
)

// block is a header block as it is read. The memory of fields is used again.
type block struct {
	pseudo pseudo
	fields []hpack.HeaderField
	size   int    // of all fields, as RFC 9113 section 6.5.2 counts
	huge   bool   // it is more than the limit: fields are missing
	bad    string // why it is malformed
}

// pseudo are the pseudo-header fields of a request, RFC 9113 section 8.3.1.
type pseudo struct {
	method, scheme, authority, path string
	have                            byte // bits, in that order
}

// headers is HEADERS with its CONTINUATIONs, RFC 9113 sections 6.2 and 6.10: a request, or the trailer of one.
func (c *conn) headers(f frame) error {
	if f.stream == 0 {
		return &connError{protocolError, "HEADERS without a stream"}
	}
	pad, err := c.padding(f)
	if err != nil {
		return err
	}
	var own error // of the stream, once the block is read
	if f.has(flagPriority) {
		var b [5]byte
		if err := c.read(b[:]); err != nil {
			return err
		}
		if binary.BigEndian.Uint32(b[:])&^(1<<31) == f.stream {
			own = &streamError{f.stream, protocolError, "a stream depends on itself"}
		}
	}
	if pad > c.left {
		return &connError{protocolError, "more padding than frame"}
	}
	if err := c.readBlock(f, pad); err != nil {
		return err
	}
	defer c.forget()
	return c.begin(f, own)
}

// readBlock reads and decodes the block that begins in f.
func (c *conn) readBlock(f frame, pad int) error {
	c.decoder.SetEmitEnabled(true)
	limit := c.server.headerLimit + blockSlack
	if err := c.decode(pad, &limit); err != nil {
		return err
	}
	timed := false
	for parts := 0; !f.has(flagEndHeaders); parts++ {
		if err := c.skip(); err != nil { // the padding
			return err
		}
		if !timed {
			timed = true
			_ = c.wire.SetReadDeadline(time.Now().Add(blockLimit)) // it fails on a connection that has ended, and then reading does too
		}
		if _, err := readFull(c, c.head[:]); err != nil {
			return err
		}
		next := parseHead(&c.head)
		if next.kind != frameContinuation || next.stream != f.stream {
			return &connError{protocolError, "a header block is interrupted"}
		}
		if next.length > int(c.server.maxFrame) {
			return &connError{frameSizeError, "a frame is too long"}
		}
		if parts >= mostParts+c.server.headerLimit/minMaxFrame {
			return &connError{enhanceYourCalm, "a header block in very many parts"}
		}
		c.left = next.length
		if err := c.decode(0, &limit); err != nil {
			return err
		}
		f.flags |= next.flags & flagEndHeaders
	}
	if timed {
		_ = c.wire.SetReadDeadline(time.Time{})
		c.mu.Lock()
		c.lingerIfOver() // whose deadline that may have been
		c.mu.Unlock()
	}
	if err := c.decoder.Close(); err != nil {
		return &connError{compressionError, err.Error()}
	}
	return nil
}

// decode decodes what is left of the frame but for pad bytes.
func (c *conn) decode(pad int, limit *int) error {
	if *limit -= c.left - pad; *limit < 0 {
		return &connError{enhanceYourCalm, "a header block is very long"}
	}
	b := c.server.buffers.get(min(c.left, 16<<10))
	defer c.server.buffers.put(b)
	for c.left > pad {
		part := (*b)[:min(c.left-pad, cap(*b))]
		if err := c.read(part); err != nil {
			return err
		}
		if _, err := c.decoder.Write(part); err != nil {
			return &connError{compressionError, err.Error()}
		}
	}
	return nil
}

// field is called by the decoder for every field of a block.
func (c *conn) field(f hpack.HeaderField) {
	b := &c.block
	if b.size += len(f.Name) + len(f.Value) + fieldOverhead; b.size > c.server.headerLimit {
		b.huge = true
		c.decoder.SetEmitEnabled(false)
		return
	}
	switch {
	case !httpguts.ValidHeaderFieldValue(f.Value):
		b.bad = "the value of a field has bytes that none may have"
	case strings.HasPrefix(f.Name, ":"):
		if len(b.fields) > 0 {
			b.bad = "a pseudo-header field after others"
		} else if !b.pseudo.set(f.Name, f.Value) {
			b.bad = "an unknown pseudo-header field, or one that comes twice"
		}
	case !validName(f.Name):
		b.bad = "the name of a field is not a lower-case token"
	default:
		b.fields = append(b.fields, f)
	}
}

func (p *pseudo) set(name, value string) bool {
	var bit byte
	switch name {
	case ":method":
		bit, p.method = 1, value
	case ":scheme":
		bit, p.scheme = 2, value
	case ":authority":
		bit, p.authority = 4, value
	case ":path":
		bit, p.path = 8, value
	default:
		return false
	}
	fresh := p.have&bit == 0
	p.have |= bit
	return fresh
}

// validName is RFC 9113 section 8.2.1.
func validName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !httpguts.IsTokenRune(rune(c)) || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return s != ""
}

// forget makes the block ready for the next.
func (c *conn) forget() {
	clear(c.block.fields)
	c.block = block{fields: c.block.fields[:0]}
	if cap(c.block.fields) > 32 {
		c.block.fields = nil
	}
}

// begin starts the request of the block that was read, or ends one whose trailer it is.
func (c *conn) begin(f frame, own error) error {
	if f.stream%2 == 0 {
		return &connError{protocolError, "HEADERS on a stream that only we may begin"}
	}
	c.mu.Lock()
	st := c.streams[f.stream]
	late := c.ignored(f.stream)
	old := f.stream <= c.seen
	c.mu.Unlock()
	switch {
	case st != nil:
		return c.trailer(st, f)
	case late:
		return nil
	case old:
		return &connError{protocolError, "HEADERS on a stream that is over, or that was passed over"}
	}
	c.useless = 0
	admitted, err := c.admit(f.stream)
	if err != nil || !admitted {
		return err
	}
	switch {
	case own != nil:
		return own
	case c.block.bad != "":
		return &streamError{f.stream, protocolError, c.block.bad}
	}
	st, err = c.request(f)
	if err != nil {
		return err
	}
	c.mu.Lock()
	err = c.err
	if err == nil {
		st.window = c.initial
		c.streams[st.id] = st
	}
	c.mu.Unlock()
	if err != nil {
		st.cancel()
		return err
	}
	c.start(st)
	return nil
}

// admit says whether a new stream may begin; a peer that begins too many is told so. Handlers of streams that are over count too:
// else who resets its streams at once could have any number of them (CVE-2023-44487).
func (c *conn) admit(id uint32) (bool, error) {
	c.mu.Lock()
	c.seen = id
	full := len(c.streams) >= c.server.maxStreams || int(c.handlers.Load()) >= c.server.maxStreams
	c.mu.Unlock()
	if !full {
		return true, nil
	}
	if err := c.idler(); err != nil {
		return false, err
	}
	return false, &streamError{id, refusedStream, "too many streams"}
}

// trailer ends a request by its trailer.
func (c *conn) trailer(st *stream, f frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case st.ended:
		return &streamError{st.id, streamClosed, "HEADERS after the end"}
	case !f.has(flagEndStream) || c.block.pseudo.have != 0 || c.block.bad != "" || c.block.huge:
		return &streamError{st.id, protocolError, "a trailer that is none"}
	}
	for _, h := range c.block.fields {
		name := canonical(h.Name)
		if !httpguts.ValidTrailerHeader(name) {
			return &streamError{st.id, protocolError, "a field that no trailer may have"}
		}
		if st.request.Trailer != nil {
			if st.trailer == nil {
				st.trailer = make(map[string][]string, len(c.block.fields))
			}
			st.trailer[name] = append(st.trailer[name], h.Value)
		}
	}
	st.endBody()
	return nil
}
