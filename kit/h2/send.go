package h2

import (
	"os"
	"time"
)

const (
	// pendingLimit is how many bytes wait to be sent before writers wait too.
	pendingLimit = 256 << 10
	// sendFrom is how many bytes are collected of an answer that goes on.
	sendFrom = 128 << 10
	// controlLimit is how many frames wait that the peer has had made: one that reads none of so many is up to no good.
	controlLimit = 10_000
	// turns is how often a handler sends what others have left meanwhile.
	turns = 8
)

// out is where frames to be sent are appended, about n bytes of them. c.mu is held.
func (c *conn) out(n int) *[]byte {
	if c.pending == nil {
		c.pending = c.server.buffers.get(min(max(n, 512), sendFrom+minMaxFrame))
	} else if old := c.pending; len(*old)+n > cap(*old) { // a pool's buffer rather than one of its own
		c.pending = c.server.buffers.get(min(len(*old)+n, pendingLimit+minMaxFrame))
		*c.pending = append(*c.pending, *old...)
		c.server.buffers.put(old)
	}
	return c.pending
}

// kick has what is pending sent by a goroutine of its own, if nobody is sending: for those who must not block. It ends with the
// connection at the latest. c.mu is held.
func (c *conn) kick() {
	if c.sending || c.err != nil {
		return
	}
	c.sending = true
	go func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sending = false
		c.send(nil)
	}()
}

// send sends what is pending, and what comes meanwhile, unless somebody does already. It returns early if by is freed by breakOff, and
// leaves the rest to a goroutine. c.mu is held, and let go while writing.
func (c *conn) send(by *stream) {
	if c.sending {
		return
	}
	c.sending, c.sender = true, by
	freed := false
	for turn := 0; c.err == nil && (c.pending != nil || c.wire.holds()); turn++ {
		if by != nil && (freed || turn == turns) {
			c.sending, c.sender = false, nil
			c.kick()
			return
		}
		b := c.pending
		c.pending, c.controls = nil, 0
		c.passOn()
		c.mu.Unlock()
		err := c.push(b)
		c.mu.Lock()
		if c.broken {
			c.broken, freed = false, true
			_ = c.wire.SetWriteDeadline(time.Time{}) // it fails on a connection that has ended
			if os.IsTimeout(err) {
				err = nil
			}
		}
		if err != nil {
			c.fail(err)
			_ = c.wire.Close() // the reader ends by it
		}
	}
	c.sending, c.sender = false, nil
	c.lingerIfOver()
	if c.err != nil && c.pending != nil {
		c.server.buffers.put(c.pending)
		c.pending = nil
	}
}

// push encrypts and writes.
func (c *conn) push(b *[]byte) error {
	if b != nil {
		c.wire.expect(len(*b))
		_, err := c.tls.Write(*b)
		c.server.buffers.put(b)
		if err != nil {
			return err
		}
	}
	return c.wire.flush()
}

// breakOff frees st's handler if it is inside a write. c.mu is held.
func (c *conn) breakOff(st *stream) {
	if c.sender == st && !c.broken {
		c.broken = true
		_ = c.wire.SetWriteDeadline(time.Unix(1, 0)) // it fails on a connection that has ended, and then writing does too
	}
}

// room is how many bytes may be appended to pending. c.mu is held.
func (c *conn) room() int {
	if c.pending == nil {
		return pendingLimit
	}
	return pendingLimit - len(*c.pending)
}

// answer is a part of an answer.
type answer struct {
	block   []byte // header fields
	data    []byte
	more    []byte // data that follows
	trailer []byte // header fields at the end
	end     bool   // nothing follows
	now     bool   // send it, and do not wait for more
}

// write queues frames of st's answer, waiting while windows are closed, and sends them if they are to go now or are many.
func (c *conn) write(st *stream, a answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.awaitRoom(st); err != nil {
		return err
	}
	defer c.passOn()
	left := len(a.data) + len(a.more)
	ends := a.end && a.trailer == nil // the last frame that is not a trailer says so
	if a.block != nil {
		b := c.out(2*headLen + len(a.block) + left)
		*b = appendBlock(*b, st.id, a.block, ends && left == 0, c.maxFrame)
	} else if left == 0 && ends {
		b := c.out(0)
		*b = appendHead(*b, frame{kind: frameData, flags: flagEndStream, stream: st.id})
	}
	for left > 0 {
		n, err := c.allowance(st, left)
		if err != nil {
			return err
		}
		left -= n
		f := frame{kind: frameData, stream: st.id, length: n}
		if left == 0 && ends {
			f.flags = flagEndStream
		}
		c.window -= int64(n)
		st.window -= int64(n)
		b := c.out(2*headLen + n + min(left, sendFrom))
		*b = appendHead(*b, f)
		k := min(n, len(a.data))
		*b = append(append(*b, a.data[:k]...), a.more[:n-k]...)
		a.data, a.more = a.data[k:], a.more[n-k:]
		if len(*b) >= sendFrom {
			c.send(st)
		}
	}
	if a.trailer != nil {
		b := c.out(0)
		*b = appendBlock(*b, st.id, a.trailer, true, c.maxFrame)
	}
	if a.end {
		c.over(st)
	}
	if a.now || a.end {
		c.send(st)
	}
	if a.end { // over has closed the stream
		return c.err
	}
	return st.err
}

// over is said of a stream whose answer is complete. c.mu is held.
func (c *conn) over(st *stream) {
	if !st.ended { // RFC 9113 section 8.1: what follows is not wanted
		c.tidy(st.id, noError)
	}
	c.close(st, errOver)
}

// count counts a frame that is no part of an answer, and ends the connection of a peer that reads none. c.mu is held.
func (c *conn) count() {
	if c.controls++; c.controls > 2*controlLimit {
		c.fail(errGone)
		_ = c.wire.Close() // the reader ends by it
	}
}

// tidy queues a RST_STREAM. c.mu is held.
func (c *conn) tidy(id uint32, why code) {
	c.count()
	b := c.out(0)
	*b = appendReset(*b, id, why)
	c.tidied[c.tidiedAt%len(c.tidied)] = id
	c.tidiedAt++
}

// reset ends a stream early. c.mu is held.
func (c *conn) reset(st *stream, why code, err error) {
	if st.err != nil {
		return
	}
	c.tidy(st.id, why)
	c.close(st, err)
	c.kick()
}

// lingerIfOver begins to end the connection when a GOAWAY was sent and all is done. c.mu is held.
func (c *conn) lingerIfOver() {
	if c.gone && len(c.streams) == 0 && c.pending == nil && !c.sending {
		c.linger()
	}
}
