package supervise

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	smallPiece  = 4 << 10              // less than this at once is little
	quickly     = time.Millisecond     // the time between two pieces of a flood, at most
	flood       = 16                   // so many small and quick pieces are one
	gatherFor   = time.Millisecond / 2 // how long a flood is left to gather
	roomyPipe   = 256 << 10            // holds what comes meanwhile, so that its writer need not wait
	endsFloodAt = smallPiece >> 2      // what gathers of a flood that is over is less than this
)

// pace decides when output is left to gather. A program that writes each line by itself, as fast as it can, would wake the keeper for every
// few lines, which costs much more than the lines; what comes more slowly is read at once.
type pace struct {
	last      time.Time // of the last piece
	quick     int       // small pieces that came quickly, in a row
	gathering bool
}

// piece takes note of a piece of n bytes, and says whether to wait before the next is read.
func (p *pace) piece(n int, now time.Time) (wait bool) {
	switch {
	case p.gathering && n >= endsFloodAt:
		wait = n < batch // else there is more already
	case p.gathering:
		p.gathering, p.quick = false, 0
	case n < smallPiece && now.Sub(p.last) < quickly:
		p.quick++
		p.gathering = p.quick >= flood
		wait = p.gathering
	default:
		p.quick = 0
	}
	p.last = now
	return wait
}

// rest waits where a piece of n bytes asks for that.
func (p *pace) rest(n int, raw syscall.RawConn) {
	was := p.gathering
	if !p.piece(n, time.Now()) {
		return
	}
	if !was {
		_ = raw.Control(func(fd uintptr) {
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, roomyPipe) // a terminal is none, and a user may have too many: then it stays small
		})
	}
	time.Sleep(gatherFor)
	p.last = time.Now()
}
