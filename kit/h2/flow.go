package h2

import "slices"

// inflow is what a peer may send: a window of RFC 9113 section 5.2.
type inflow struct {
	avail  int32 // what the peer may send yet
	unsent int32 // what was read and is not given back yet
}

// take is false if the peer sends more than it may.
func (f *inflow) take(n int) bool {
	if n > int(f.avail) {
		return false
	}
	f.avail -= int32(n)
	return true
}

// giveFrom is from how many bytes on a window is given back, so that few frames do it.
const giveFrom = 64 << 10

// give gives n bytes back, and returns for how many a WINDOW_UPDATE is due.
func (f *inflow) give(n int) int32 {
	f.unsent += int32(n)
	if f.unsent < giveFrom && f.unsent < f.avail {
		return 0
	}
	due := f.unsent
	f.unsent = 0
	f.avail += due
	return due
}

// allowance is how many of left bytes st may send in its next frame, at least one. It waits for the peer to open its windows and for
// others to send what is pending. c.mu is held, and let go while waiting.
func (c *conn) allowance(st *stream, left int) (int, error) {
	for {
		if st.err != nil {
			return 0, st.err
		}
		n := int(min(int64(left), int64(c.maxFrame), c.window, st.window, int64(c.room())))
		if n > 0 {
			return n, nil
		}
		if c.pending != nil && !c.sending { // nobody else would
			c.send(st)
			continue
		}
		c.passOn()
		if st.window > 0 { // it waits for the connection
			st.queued = true
			c.queue = append(c.queue, st)
		}
		st.changed.Wait()
		if st.queued {
			st.queued = false
			c.queue = slices.DeleteFunc(c.queue, func(o *stream) bool { return o == st })
		}
	}
}

// awaitRoom waits until a header block may be appended to pending: a peer that reads none must not have us keep its answers. c.mu is
// held, and let go while waiting.
func (c *conn) awaitRoom(st *stream) error {
	for st.err == nil && c.room() <= 0 {
		if !c.sending {
			c.send(st)
			continue
		}
		c.cramped = append(c.cramped, st)
		st.changed.Wait()
	}
	return st.err
}

// passOn wakes those that wait for room, and the first of those that wait for the window too, if they can go on. Each of the latter
// that is done wakes the next. c.mu is held.
func (c *conn) passOn() {
	if c.room() <= 0 {
		return
	}
	for _, st := range c.cramped {
		st.changed.Broadcast()
	}
	c.cramped = nil
	if len(c.queue) == 0 || c.window <= 0 {
		return
	}
	st := c.queue[0]
	c.queue = slices.Delete(c.queue, 0, 1)
	st.queued = false
	st.changed.Broadcast()
}

// credit gives n bytes of a body back to the peer: to the connection, and to st if it is not nil. c.mu is held.
func (c *conn) credit(st *stream, n int) {
	due := c.inflow.give(n)
	if due > 0 {
		c.count()
		b := c.out(0)
		*b = appendWindow(*b, 0, due)
	}
	if st != nil && !st.ended && st.err == nil {
		if own := st.inflow.give(n); own > 0 {
			b := c.out(0)
			*b = appendWindow(*b, st.id, own)
			due += own
		}
	}
	if due > 0 {
		c.kick()
	}
}
