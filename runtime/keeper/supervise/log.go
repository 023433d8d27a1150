package supervise

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// maxLine is the longest piece of a line in a log entry, in bytes, as CRI runtimes have it. Longer lines are split: all
// pieces but the last are marked P.
const maxLine = 16 << 10

// write appends output to the log as CRI log entries: `<RFC 3339 time with nanoseconds> stdout F <line>`. What does not
// end a line waits for its end, or for maxLine bytes. The caller holds k.scratchMu.
func (o *output) write(p []byte, stream byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.log < 0 {
		return
	}
	tail := &o.tails[stream-wire.KindStdout]
	now := time.Now()
	lines := o.k.lines[:0]
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		room := maxLine - len(*tail)
		switch {
		case i >= 0 && i <= room:
			lines = entry(lines, now, stream, 'F', *tail, p[:i])
			*tail, p = nil, p[i+1:]
		case len(p) >= room:
			lines = entry(lines, now, stream, 'P', *tail, p[:room])
			*tail, p = nil, p[room:]
		default:
			*tail = append(*tail, p...)
			p = nil
		}
		if len(lines) > 2*maxLine {
			o.flush(lines)
			lines = lines[:0]
		}
	}
	o.flush(lines)
	o.k.lines = lines[:0]
	if cap(lines) > 8*maxLine {
		o.k.lines = nil
	}
}

// end writes the unfinished line of a stream that has ended, as a piece: a reader must not add a newline that nobody wrote.
func (o *output) end(stream byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	tail := &o.tails[stream-wire.KindStdout]
	if o.log >= 0 && len(*tail) > 0 {
		o.flush(entry(nil, time.Now(), stream, 'P', *tail, nil))
	}
	*tail = nil
}

// entry appends one log entry for a line that comes in two parts.
func entry(b []byte, now time.Time, stream, tag byte, head, rest []byte) []byte {
	b = now.UTC().AppendFormat(b, time.RFC3339Nano)
	if stream == wire.KindStderr {
		b = append(b, " stderr "...)
	} else {
		b = append(b, " stdout "...)
	}
	b = append(b, tag, ' ')
	b = append(b, head...)
	b = append(b, rest...)
	return append(b, '\n')
}

// flush writes entries. A disk that is full loses them: a container must not stop because its log cannot be written.
func (o *output) flush(lines []byte) {
	for len(lines) > 0 {
		n, err := unix.Write(o.log, lines)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		lines = lines[n:]
	}
}
